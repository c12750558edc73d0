"""Files that a browser loads. All are read when the server starts; no request names a path."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from fastapi.openapi.docs import get_swagger_ui_html

from ..names import printable
from .guard import DOCS_POLICY

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
SAMPLE_TYPES = frozenset({".jpg", ".jpeg", ".png", ".webp"})  # that every browser shows
_PAGE = Path(__file__).parent / "page"
_SWAGGER = ("swagger-ui-bundle.js", "swagger-ui.css")
MAX_SAMPLES = 12


@dataclass(frozen=True)
class Asset:
    content: bytes
    kind: str
    policy: str | None = None  # of the content, instead of the guard's

    @property
    def headers(self) -> dict[str, str]:
        headers = {"content-type": self.kind, "cache-control": "no-cache"}
        return headers | ({"content-security-policy": self.policy} if self.policy else {})


@dataclass(frozen=True)
class Sample:
    name: str
    content: bytes
    kind: str


def page_assets(title: str, openapi_url: str) -> dict[str, Asset]:
    """Address -> file: the page, and the one that describes the interface."""
    found = {
        f"/page/{path.name}": Asset(path.read_bytes(), _TYPES[path.suffix])
        for path in sorted(_PAGE.iterdir())
        if path.suffix in _TYPES
    }
    found["/"] = found.pop("/page/index.html")
    # FastAPI's own page loads Swagger UI from another host
    folder = files("fastapi_offline") / "static"
    for name in _SWAGGER:
        found[f"/page/{name}"] = Asset((folder / name).read_bytes(), _TYPES[Path(name).suffix])
    docs = get_swagger_ui_html(
        openapi_url=openapi_url,
        title=title,
        swagger_js_url=f"/page/{_SWAGGER[0]}",
        swagger_css_url=f"/page/{_SWAGGER[1]}",
        swagger_favicon_url="/page/icon.svg",
        swagger_ui_parameters={"validatorUrl": None},
    )
    found["/docs"] = Asset(docs.body, _TYPES[".html"], DOCS_POLICY)
    return found


def samples_of(folder: Path, max_bytes: int) -> list[Sample]:
    """The first ``MAX_SAMPLES`` pictures of a folder that browsers show, in the order of names.

    Raises:
        ValueError: there is no such folder, or none in it that is small enough.
    """
    if not folder.is_dir():
        raise ValueError(f"--samples {folder} is no folder")
    paths = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SAMPLE_TYPES
        and path.is_file()
        and path.stat().st_size <= max_bytes
    ]
    if not paths:
        raise ValueError(
            f"--samples {folder} has no picture ({', '.join(sorted(SAMPLE_TYPES))}) of at most "
            f"{max_bytes / 1e6:.1f} MB"
        )
    return [
        Sample(printable(path.name), path.read_bytes(), _TYPES[path.suffix.lower()])
        for path in paths[:MAX_SAMPLES]
    ]
