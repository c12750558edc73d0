"""The page in headless Chromium: upload, mask, click, download."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
from PIL import Image
from served import COLORS, NAMES, Bands, app_of, encoded, picture, server

from d2seg.serving.questions import Limits

WIDTHS = (390, 900, 1440)
# CSS colours of text and ground, from the element up to one that has a ground
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const groundOf = (element) => {
    for (; element; element = element.parentElement) {
      const color = parse(getComputedStyle(element).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.offsetParent || element.disabled) continue;
    const pair = [parse(getComputedStyle(element).color), groundOf(element)].map(light);
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    found.push([ratio, element.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def model() -> Bands:
    return Bands()


@pytest.fixture(scope="module")
def address(model: Bands) -> Iterator[str]:
    with server(app_of(model, Limits(max_bytes=100_000, max_pixels=50_000))) as found:
        yield found


@pytest.fixture
def page(open_page: Callable, address: str) -> Iterator[Any]:
    """The page, whose console stays free of errors."""
    opened, errors = open_page(address)
    opened.wait_for_selector("#samples img")
    yield opened
    assert errors == []


def upload(page: Any, *files: tuple[str, bytes]) -> None:
    page.set_input_files(
        "#file",
        [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files],
    )


def rows(page: Any) -> list[str]:
    return page.locator("#rows tr td:first-child").all_inner_texts()


def saved(page: Any, button: str) -> bytes:
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_bytes()


def pixels(page: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(saved(page, "#save-png"))).convert("RGB")).astype(int)


def click_at(page: Any, row: int, column: int) -> None:
    box = page.locator("#canvas").bounding_box()
    page.mouse.click(
        box["x"] + (column + 0.5) * box["width"] / 80, box["y"] + (row + 0.5) * box["height"] / 60
    )


def test_upload_mask_click_download(page: Any) -> None:
    page.uncheck("#labels")
    upload(page, ("street.png", encoded()))
    page.wait_for_selector("#rows tr")
    assert rows(page) == ["floor", "cat", "dog"]  # the sky scores 0.3, and 0.5 is asked for first
    assert "street.png, 80 \u00d7 60 pixels" in page.inner_text("#status")
    drawn, numbers = pixels(page), picture()[:, :, 0] // 64
    for number in (0, 1, 2):
        inside = drawn[numbers == number]
        mixed = (picture()[numbers == number][:1] + np.array(COLORS[number])) / 2
        assert np.median(np.abs(inside - mixed)) <= 1, NAMES[number]
    assert (drawn[numbers == 3] == picture()[numbers == 3]).mean() > 0.9  # bare

    click_at(page, 20, 15)  # the cat
    assert page.locator("#rows tr.alone").inner_text().startswith("cat")
    alone = pixels(page)
    assert (alone[45, 5] < drawn[45, 5]).any()  # the floor is dimmed
    coco = json.loads(saved(page, "#save-coco"))
    (annotation,) = coco["annotations"]
    assert coco["categories"] == [{"id": 2, "name": "cat"}]
    assert coco["images"][0]["file_name"] == "street.png"
    assert np.array_equal(mask_util.decode(annotation["segmentation"]) == 1, numbers == 1)
    assert annotation["area"] == (numbers == 1).sum()

    page.keyboard.press("Escape")
    assert page.locator("#rows tr.alone").count() == 0
    rle = json.loads(saved(page, "#save-rle"))
    assert [one["name"] for one in rle["segments"]] == ["floor", "cat", "dog"]
    assert rle["size"] == [60, 80]


def test_confidence_opacity_and_classes(page: Any) -> None:
    page.click("#samples button")
    page.wait_for_selector("#rows tr")
    labelled = pixels(page)
    page.uncheck("#labels")
    assert 10 < (labelled != pixels(page)).any(2).sum() < 2000  # names, and nothing else
    page.fill("#confidence", "0.2")
    assert rows(page) == ["floor", "cat", "dog", "sky"]
    page.fill("#confidence", "0.8")
    assert rows(page) == ["floor"]
    page.fill("#confidence", "0.1")
    page.click("#classes label:has-text('cat')")
    assert rows(page) == ["floor", "dog", "sky"]
    page.fill("#opacity", "0")
    assert np.array_equal(pixels(page), picture())
    page.fill("#opacity", "1")
    assert (pixels(page)[45, 5] == COLORS[0]).all()
    page.click("thead button[data-key=area]")
    areas = page.locator("#rows td:last-child").all_inner_texts()
    assert areas == sorted(areas, key=lambda text: -float(text.split()[0]))
    assert page.get_attribute("th:last-child", "aria-sort") == "descending"


def test_tasks_and_expressions(page: Any, model: Bands) -> None:
    page.click("#samples button")
    page.wait_for_selector("#rows tr")
    page.click("label:has-text('semantic')")
    page.wait_for_selector("#rows tr:nth-child(4)")
    assert model.asked[-1][1:3] == ("semantic", None)
    page.fill("#confidence", "0.4")
    page.wait_for_selector("#stage:not(.busy)")
    assert model.asked[-1][1:3] == ("semantic", 0.4)
    page.click("label:has-text('referring')")
    page.wait_for_selector("#status:has-text('Say what')")
    page.fill("#expressions", "cat\na purple bird\n\n")
    page.click("#look")
    page.wait_for_selector("#status:has-text('purple')")
    assert "not found: a purple bird" in page.inner_text("#status")
    assert model.asked[-1] == ((60, 80, 3), "referring", None, ("cat", "a purple bird"))


def test_a_batch_and_its_zip(page: Any) -> None:
    large = np.zeros((300, 300, 3), np.uint8)
    upload(
        page,
        ("a.png", encoded()),
        ("a.png", encoded(picture(30, 40))),
        ("<b>no picture.png", b"\x00"),
        ("large.png", encoded(large)),
        ("grey.tif", encoded((np.arange(4800, dtype=np.uint16) * 13).reshape(60, 80), "TIFF")),
        ("many_bytes.png", bytes(100_001)),
    )
    page.wait_for_selector("#save-zip:enabled")
    states = page.locator("#batch .state").all_inner_texts()
    assert states[:2] == ["4 found", "4 found"]
    assert "<b>no picture.png: it is no picture" in states[2]
    assert "it has 300x300 pixels" in states[3]
    assert "The file has 0.1 MB; at most 0.1 MB are taken." in states[5]
    page.click("#batch li:nth-child(5) button")
    page.wait_for_selector("#status:has-text('grey.tif')")
    assert rows(page)  # of a file that Chromium does not show
    with zipfile.ZipFile(io.BytesIO(saved(page, "#save-zip"))) as archive:
        assert archive.testzip() is None
        names = ["a.png", "a_2.png", "grey.png", "coco.json", "failures.txt"]
        assert archive.namelist() == names
        assert Image.open(archive.open("a_2.png")).size == (40, 30)
        coco = json.loads(archive.read("coco.json"))
        assert len(archive.read("failures.txt").splitlines()) == 3
    assert [image["id"] for image in coco["images"]] == [1, 2, 3]
    assert {one["image_id"] for one in coco["annotations"]} == {1, 2, 3}


def test_a_pasted_picture(page: Any) -> None:
    page.evaluate(
        """(bytes) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], "pasted.png", {type: "image/png"}));
          document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
        }""",
        list(encoded()),
    )
    page.wait_for_selector("#rows tr")
    assert page.inner_text("#status").startswith("pasted.png")


def test_the_place_in_the_line_is_shown(page: Any, model: Bands, address: str) -> None:
    model.gate.clear()
    try:
        page.evaluate(
            """async () => {
              const picture = await (await fetch('/samples/0')).blob();
              void fetch('/predict', {method: 'POST', body: picture});
            }"""
        )
        page.click("#samples button")
        page.wait_for_selector("#status:has-text('before this')")
    finally:
        model.gate.set()
    page.wait_for_selector("#rows tr")


def test_by_keyboard_alone(page: Any) -> None:
    page.focus("#samples button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#rows tr")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#rows tr') !== null"):
            break
    page.keyboard.press("Enter")
    assert page.locator("#rows tr.alone button[aria-pressed=true]").count() == 1
    assert page.evaluate("document.activeElement.closest('#rows tr') !== null")  # focus stays


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_at_every_width(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.click("#samples button")
    page.wait_for_selector("#rows tr")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = page.evaluate(CONTRAST)
        assert len(found) > 20
        assert min(found)[0] >= 4.5, min(found)


def test_the_interface_is_described_without_a_network(open_page: Callable, address: str) -> None:
    opened, errors = open_page(f"{address}/docs")
    opened.wait_for_selector(".opblock-post")
    assert opened.locator(".opblock").count() == 4
    assert errors == []
