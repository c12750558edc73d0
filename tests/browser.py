"""Pages in headless Chromium; conftest.py offers the fixtures to every test.

A test skips where Playwright or Chromium is missing (Debian: ``apt-get install chromium``).
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

# nothing but the page is to be fetched, and no service of the browser to be asked
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A Playwright browser, one for all tests of a process."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=program, args=list(FLAGS))
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., tuple[Any, list[str]]]]:
    """``open_page(path_or_url, width=1280)``: the page, and a list that collects what its console
    reports as errors or warnings, and requests that fail."""
    with ExitStack() as stack:

        def open_one(address: str | Path, width: int = 1280) -> tuple[Any, list[str]]:
            context = browser.new_context(viewport={"width": width, "height": 800})
            stack.callback(context.close)
            page, errors = context.new_page(), []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda m: m.type in ("error", "warning") and errors.append(m.text))
            page.on("requestfailed", lambda request: errors.append(request.url[:200]))
            page.goto(address.as_uri() if isinstance(address, Path) else address)
            return page, errors

        yield open_one
