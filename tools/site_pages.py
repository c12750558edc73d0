"""A hook of MkDocs: pages of the site that lie outside of ``docs/``, and the links between all.

Links in the repository are paths of the repository, so that they work wherever it is read. The site
has the pages of ``docs/`` where they are, and those of ``PAGES`` beside them.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPO = Path(__file__).resolve().parents[1]
METHODS = (
    *("maskformer", "mask2former", "pointrend", "segformer", "setr", "topformer", "transunet"),
    *("dstransunet", "restr"),
)
# path in the repository: path in the site
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "LICENSE.txt",
    "projects/d2seg/config/zoo.csv": "zoo.csv",
    **{f"projects/d2seg/{method}/README.md": f"methods/{method}.md" for method in METHODS},
}
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of ``PAGES``."""
    for source, page in PAGES.items():
        content = (REPO / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make paths of the repository paths of the site; MkDocs warns of those that lead nowhere."""
    here = page.file.src_uri
    source = next((path for path, at in PAGES.items() if at == here), f"docs/{here}")

    def in_site(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        at = PAGES.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(at, posixpath.dirname(here) or ".")

    return _LINK.sub(in_site, markdown)
