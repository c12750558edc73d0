"""The frame of reports: escaping, tables, plots; and in a browser what the scripts do."""

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d2seg.reports import heat_map, jpeg_uri, line_chart, render
from d2seg.reports.page import count, number
from d2seg.reports.thumbnails import fitted

HOSTILE = "</script><img src=x onerror=alert(1)>" + 200 * "x"
PAGE = """{% extends "base.html" %}
{% block title %}{{ name }}{% endblock %}
{% block content %}<section><h2>A</h2>
{{ m.table("scores", ["class", ("IoU", "in percent")], rows, "scores") }}
{{ m.gallery(items, [(0, "cat", "rgb(1 2 3)"), (1, name, "rgb(4 5 6)")], "pictures") }}
{{ m.chart(curves, "curves", "Precision") }}
{{ plot | safe }}{{ m.picture(matrix, "a matrix") }}
</section>{% endblock %}
"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.html").write_text(PAGE)
    numbers = [(f"class {i}", {"text": str(v), "value": v}) for i, v in enumerate([3, 10, 2])]
    uri = jpeg_uri(np.zeros((20, 30, 3), np.uint8))
    items = [
        {"title": HOSTILE, "note": "", "classes": [i], "panels": [(uri, "black", "truth")]}
        for i in (0, 1, 1)
    ]
    curves = {
        "classes": ["cat", HOSTILE], "kind": "lines", "x": [0, 0.5, 1], "x_label": "recall",
        "y_label": "precision", "series": ["0.50"], "y": [[[1, 0.5, 0]], [[1, None, 0]]],
        "note": ["AP 50", "AP 40"],
    }  # fmt: skip
    page = render(
        "page.html",
        folder,
        name=HOSTILE,
        rows=[*numbers, ("none", {"text": "\u2013", "value": None})],
        items=items,
        curves=curves,
        plot=line_chart({"a$b": ([0, 1], [1, 2]), HOSTILE: ([0, 1], [2, 1])}, "x", "y"),
        matrix=heat_map(np.eye(3), ["a", HOSTILE, "c$"], "prediction", "truth", "of truth"),
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
    return folder / "report.html"


def test_names_from_data_are_text(page_file: Path) -> None:
    text = page_file.read_text()
    assert "<img src=x" not in text
    assert text.count("</script>") == 2  # of the curves' data and of the page
    assert list(page_file.parent.glob(".*")) == []
    [legend] = re.findall(r">(&lt;/script.*?)</text>", text)  # of the plot, which keeps its place
    assert len(html.unescape(legend)) == 32


def test_nothing_is_fetched(page_file: Path) -> None:
    addresses = re.findall(r'(?:src|href)="([^"#]{0,20})', page_file.read_text())
    assert all(not a or a.startswith("data:") for a in addresses), addresses


def test_numbers() -> None:
    assert (number(12.345), number(None), number(float("nan"), 2)) == ("12.3", "\u2013", "\u2013")
    assert count(1234567).replace("\u202f", " ") == "1 234 567"
    assert (fitted((400, 800), 200), fitted((10, 20), 200)) == ((100, 200), (10, 20))
    assert fitted((1, 4000), 200) == (1, 200)


def test_in_a_browser(page_file: Path, open_page: Callable[..., tuple[Any, list[str]]]) -> None:
    page, errors = open_page(page_file, 390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    names = lambda: [x.inner_text() for x in page.query_selector_all("#scores tbody th")]  # noqa: E731
    page.click("#scores thead th:nth-child(2) button")
    assert names() == ["class 1", "class 0", "class 2", "none"]
    page.click("#scores thead th:nth-child(2) button")
    assert names() == ["class 2", "class 0", "class 1", "none"]  # what has no number stays last
    assert page.get_attribute("#scores th:nth-child(2)", "aria-sort") == "ascending"
    page.select_option("#pictures select", "1")
    assert page.inner_text("#pictures [role=status]") == "2 of 3"
    assert page.locator("#pictures figure:visible").count() == 2
    page.select_option("#curves select", "1")
    assert page.inner_text("#curves p.note") == "AP 40"
    assert page.locator("#curves polyline").count() == 1
    page.click("#pictures figure:visible [data-zoom] >> nth=0")
    assert page.get_attribute("#zoom", "open") is not None
    page.keyboard.press("Escape")
    assert page.get_attribute("#zoom", "open") is None
    assert errors == []
