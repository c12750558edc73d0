"""Copies within and across splits: what is found, and what is a leak."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from report_data import declare, inspected, save, scene

from d2seg.cli import check
from d2seg.data.inspection.duplicates import find_duplicates, split_of
from d2seg.data.inspection.fingerprints import (
    MAX_DISTANCE,
    NUM_WORDS,
    code_of,
    codes_of,
    distances,
    near_groups,
)
from d2seg.pictures import shown_size_and_grey


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten scenes to train on, one of them twice; of five to validate on, four are copies."""
    root = tmp_path_factory.mktemp("leaky")
    for seed in range(10):
        save(scene(seed), root / f"images/train/{seed}.png")
    save(scene(4), root / "images/train/again.png")
    save(scene(0), root / "images/val/same.png")
    save(scene(1).resize((80, 60), Image.Resampling.LANCZOS), root / "images/val/resized.png")
    save(scene(2), root / "images/val/recompressed.jpg", quality=40)
    save(ImageEnhance.Brightness(scene(3)).enhance(1.05), root / "images/val/brighter.png")
    save(scene(50), root / "images/val/new.png")
    return declare(root, "train", "val")


@pytest.fixture(scope="module")
def leaky_page(leaky: Path) -> tuple[int, Path]:
    page = leaky.parent / "report.html"
    return check.main([str(leaky), "--html", str(page), "--workers", "2"]), page


def test_copies_across_splits_are_leaks_and_those_within_are_not(leaky):
    found = find_duplicates(inspected(leaky))
    [leak] = found.leaks
    pairs = {(Path(a).stem, Path(b).stem) for a, b in leak.pairs}
    assert pairs == {("same", "0"), ("resized", "1"), ("recompressed", "2"), ("brighter", "3")}
    groups = {frozenset(Path(p.file).stem for p in g.places): g for g in found.groups}
    assert groups.keys() == {*map(frozenset, pairs), frozenset({"4", "again"})}
    assert groups[frozenset({"4", "again"})].leaks == []
    assert groups[frozenset({"4", "again"})].is_same_file
    assert groups[frozenset({"same", "0"})].is_same_file
    assert not groups[frozenset({"resized", "1"})].is_same_file
    assert found.is_complete


def test_a_leak_ends_with_1_and_no_leak_with_0(leaky_page, tmp_path, capsys):
    code, page = leaky_page
    assert code == 1
    assert "Leak: 4 pictures of" in page.read_text()
    for seed in (1, 1, 2):
        save(
            scene(seed), tmp_path / f"images/train/{seed}-{len(list(tmp_path.rglob('*.png')))}.png"
        )
    alone = declare(tmp_path, "train")
    assert check.main([str(alone), "--html", str(tmp_path / "a.html")]) == 0
    assert "groups of duplicates: 1, pictures in two splits: 0" in capsys.readouterr().out


def test_the_annotations_of_one_split_may_share_their_pictures(tmp_path):
    save(scene(1), tmp_path / "images/train/1.png")
    first, second = (inspected(declare(tmp_path, "train"))[0] for _ in range(2))
    assert find_duplicates([first, second]).groups == []
    roles = {first.name: "train", second.name: "test"}  # unless a config trains and tests on them
    [leak] = find_duplicates([first, second], roles).leaks
    assert (leak.first, leak.second) == (first.name, second.name)


def test_names_say_splits():
    assert split_of("coco_2017_val_panoptic") == {"val"}
    assert split_of("camvid_trainval") == {"train", "val"}
    assert split_of("valuable_tests") == split_of("rooms") == set()


def test_no_near_pair_is_missed():
    """Against all pairs, with every distance from 0 to 12 bits planted."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 1 << 16, (300, NUM_WORDS), dtype=np.uint16)
    for row in range(150):
        codes[row] = codes[row + 150]
        for bit in rng.choice(16 * NUM_WORDS, row % 13, replace=False):
            codes[row, bit // 16] ^= np.uint16(1 << bit % 16)
    groups, is_complete = near_groups(codes)
    near = distances(codes[:, None], codes[None]) <= MAX_DISTANCE
    expected = {(a, b) for a, b in np.argwhere(np.triu(near, 1)).tolist()}
    assert {tuple(rows.tolist()) for rows in groups} == expected
    assert len(expected) == sum(row % 13 <= MAX_DISTANCE for row in range(150))
    assert is_complete
    assert near_groups(codes[:0]) == ([], True)


def test_the_search_is_bounded_where_all_are_alike():
    codes = np.zeros((600, NUM_WORDS), np.uint16)
    codes[:, 1] = np.arange(600)  # the other words are the same
    groups, is_complete = near_groups(codes)
    assert not is_complete
    assert max(map(len, groups)) == 600


def test_a_picture_turned_by_exif_has_the_hash_of_the_turned_one(tmp_path):
    upright, turned = tmp_path / "a.png", tmp_path / "b.png"
    scene(1).save(upright)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    scene(1).transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    codes = [codes_of(code_of(shown_size_and_grey(str(f), 32)[1])) for f in (upright, turned)]
    assert distances(*codes)[0] <= MAX_DISTANCE


def test_the_page_works_in_a_browser(leaky_page, open_page):
    expect = pytest.importorskip("playwright.sync_api").expect
    page, errors = open_page(leaky_page[1], width=1000)
    page.get_by_role("button", name="pixels").first.click()
    row = page.locator("#table1 tbody tr").first
    assert row.locator("td").last.inner_text().startswith("50.00")
    assert page.locator("#duplicates figure.leak").count() == 4
    image = page.locator("#duplicates figure.leak img").first
    image.scroll_into_view_if_needed()
    expect(image).to_have_js_property("complete", True)  # they are loaded when they are seen
    assert image.evaluate("image => image.naturalWidth") > 0
    for width in (360, 768, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert errors == []
