"""The documents as a site: every page is in it, every link leads somewhere, nothing is fetched."""

import logging
import re
from pathlib import Path

import pytest

pytest.importorskip("material")
pytest.importorskip("mkdocs_jupyter")


@pytest.fixture(scope="module")
def site(repo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(repo_dir / "mkdocs.yml"), site_dir=str(folder), strict=True)
    logging.getLogger("mkdocs").setLevel(logging.WARNING)
    # in strict mode a page that is in no menu, or a link or an anchor that is nowhere, is an error
    build(config)
    return folder


def test_every_document_is_a_page(site: Path, repo_dir: Path) -> None:
    for path in (repo_dir / "docs").rglob("*.md"):
        assert (site / path.relative_to(repo_dir / "docs").with_suffix(".html")).is_file()
    for path in (repo_dir / "projects/d2seg").glob("*/README.md"):
        assert (site / "methods" / f"{path.parent.name}.html").is_file()
    start = (site / "index.html").read_text()
    assert 'href="methods/setr.html"' in start
    assert 'src="images/shapes.png"' in start
    assert (site / "images/shapes.png").is_file()


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r'<(?:script|img|iframe)[^>]*\ssrc="https?:|<link[^>]*\shref="https?:')
    for path in site.rglob("*.html"):
        assert not fetched.search(path.read_text()), path
