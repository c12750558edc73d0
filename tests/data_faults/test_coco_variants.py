"""Annotations that tools and scripts write beside what COCO's format says: used, or named."""

import json
import logging
import re
from pathlib import Path

import pytest
from coco_cases import RUNS, SQUARE, instances, panoptic, put, rle
from dataset_files import H, W, annotation, coco_json, square_rle, unique_name, write_image

from d2seg.cli import check
from d2seg.data.datasets.categories import Category
from d2seg.data.datasets.registration import register_dataset
from d2seg.data.dicts import check_files_of, load_dicts
from d2seg.data.entries import has_pixels
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.segmentations import MAX_OUTLINE, sound_segmentation

A0 = ("annotations", 0)
MASK = (*A0, "segmentation")
ZIGZAG = [0, 0, 60 * W, 60 * H]
# in the place of a sound mask, and what is said
REFUSED_MASKS = {
    "endless outline": ([ZIGZAG * 1500], f"longer than {MAX_OUTLINE} pixels"),
    "endless outline in parts": ([ZIGZAG * 40] * 40, f"longer than {MAX_OUTLINE} pixels"),
    "polygon and RLE": ([SQUARE, rle(RUNS)], "no list of numbers: {'counts': ["),
    "text in a list": (["1,1,5,5"], "no list of numbers: '1,1,5,5'; write polygons as [[x0, y0,"),
    "GeoJSON": ({"type": "Polygon", "coordinates": []}, "has no size [height, width]: {"),
    "runs in a list": (rle([RUNS]), "no 'counts' that are runs: [["),
    "truth values as runs": (rle([True, H * W - 1]), "no 'counts' that are runs: [True"),
    "halves of runs": (rle([0.5, H * W - 0.5]), "no 'counts' that are runs: [0.5"),
    "a run beyond 64 bits": (rle([2**70]), "do not make 12x16 pixels: 'counts' is [1180591620"),
    "bytes as text": (rle("b'PPYo1'"), "do not make 12x16 pixels: 'counts' is \"b'PPYo1'\""),
}


@pytest.mark.parametrize("case", REFUSED_MASKS)
def test_masks_are_refused_with_their_value(tmp_path, case: str) -> None:
    mask, message = REFUSED_MASKS[case]
    name = instances(tmp_path, put(*MASK, value=mask))["name"]
    with pytest.raises(ValueError, match=r"000\.jpg: annotation 0: ") as caught:
        load_dicts(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    [problem] = inspect_dataset(name).problems
    assert message in problem.detail


@pytest.mark.parametrize("is_text", [False, True])
def test_runs_and_sizes_that_a_script_wrote_as_floats_are_those(tmp_path, is_text: bool) -> None:
    """As MATLAB and pandas do."""
    counts = square_rle()["counts"] if is_text else [float(run) for run in RUNS]
    mask = rle(counts, (float(H), float(W)))
    expected = sound_segmentation(rle(RUNS), (H, W))
    found = sound_segmentation(mask, (H, W))
    assert found == expected
    name = instances(tmp_path, put(*MASK, value=mask))["name"]
    loaded = load_dicts(name)[0]["annotations"][0]["segmentation"]
    for sizes in (found["size"], loaded["size"]):
        assert [type(number) for number in sizes] == [int, int]
    assert not inspect_dataset(name).problems


@pytest.mark.parametrize("value", [0, False, "", {}, "3,2,5,4"])
def test_a_box_that_is_none_is_refused_by_loader_and_checker(tmp_path, value: object) -> None:
    name = instances(tmp_path, put(*A0, "bbox", value=value))["name"]
    shown = repr(value)
    with pytest.raises(ValueError, match="four finite numbers") as caught:
        load_dicts(name)
    assert f"'bbox' is {shown}" in str(caught.value)
    assert any(f"'bbox' is {shown}" in p.detail for p in inspect_dataset(name).problems)


@pytest.mark.parametrize("value", [[], None])
def test_an_empty_box_is_none(tmp_path, value: object) -> None:
    name = instances(tmp_path, put(*A0, "bbox", value=value))["name"]
    assert load_dicts(name)[0]["annotations"][0]["bbox"] == [3, 2, 5, 4]
    assert not inspect_dataset(name).problems


def test_ids_of_images_as_text_beside_numbers_are_refused(tmp_path) -> None:
    made = instances(tmp_path, put(*A0, "image_id", value="0"))
    message = r"annotations\[0\] \(id 1, image '0'\): 'image_id' is no number as the ids"
    with pytest.raises(ValueError, match=message):
        load_dicts(made["name"])
    [problem] = inspect_dataset(made["name"]).problems
    assert problem.kind == "unusable annotation"

    def swap(content: dict) -> None:
        for image in content["images"]:
            image["id"] = str(image["id"])
        content["annotations"][1]["image_id"] = "1"

    with pytest.raises(ValueError, match="'image_id' is no text as the ids"):
        load_dicts(instances(tmp_path, swap)["name"])


@pytest.mark.parametrize(
    ("mask", "kind", "left"),
    [
        ([[1, 1, 5, 5]], "unusable mask", 0),
        ([[1, 1, 5, 5, 9]], "unusable mask", 0),
        ([[]], "unusable mask", 0),
        ([SQUARE, [1, 1, 5, 5, 9, 1, 3]], "unusable polygon", 1),
        ([SQUARE, [1, 1, 5, 5]], "unusable polygon", 1),
        ([SQUARE, []], None, 1),
    ],
)
def test_polygons_that_are_left_out_are_listed_with_their_annotation(
    tmp_path, mask: list, kind: str | None, left: int
) -> None:
    name = instances(tmp_path, put(*MASK, value=mask))["name"]
    assert len(load_dicts(name)[0]["annotations"]) == left
    problems = inspect_dataset(name).problems
    assert [p.kind for p in problems] == ([kind] if kind else [])
    for problem in problems:
        assert problem.detail.startswith("annotation 1 of image 0: 'segmentation' has a polygon of")
        assert problem.file.endswith("wrong.json")


def test_images_that_are_not_listed_are_named_by_the_checker(tmp_path) -> None:
    name = instances(tmp_path, put(*A0, "image_id", value=77))["name"]
    [problem] = inspect_dataset(name).problems
    assert problem.kind == "unlisted image"
    assert problem.detail.startswith("annotations[0]: the image of annotation 77 is not listed")


EMPTY = {
    "parts of width and height": [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]],
    "outside": [[100, 1, 120, 1, 120, 9]],
    "on a line": [[1, 1, 5, 1, 9, 1]],
    "RLE of background": rle([H * W]),
}


@pytest.mark.parametrize("case", EMPTY)
def test_masks_that_are_all_empty_are_refused(tmp_path, case: str) -> None:
    def empty(content: dict) -> None:
        for found in content["annotations"]:
            found["segmentation"] = EMPTY[case]

    name = instances(tmp_path, empty)["name"]
    message = r"no mask has a pixel in its picture, as that of .*000\.jpg: annotation 0; coord"
    with pytest.raises(ValueError, match=message):
        load_dicts(name)
    load_dicts(instances(tmp_path, put(*MASK, value=EMPTY[case]))["name"])  # one of two
    assert not has_pixels(EMPTY[case], (H, W))
    assert has_pixels([[0, 0, 3, 0, 3, 3]], (H, W))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (" ", r"the name of categories\[0\] is empty"),
        ("a\nb", r"categories\[0\] is 'a\\nb', with characters that cannot be printed"),
        ("\x1b[31m", "with characters that cannot be printed"),
        ("\ud800", "with characters that cannot be printed"),
        ("x" * 2000, "it has at most 1000 characters"),
        (True, r"the name of categories\[0\] is True, no text"),
    ],
)
def test_names_of_categories_are_names(tmp_path, capsys, name: object, message: str) -> None:
    made = instances(tmp_path)
    content = made["content"]
    content["categories"] = [{"id": 5, "name": name}, {"id": 9, "name": "chair"}]
    made["file"].write_text(json.dumps(content))
    declared = tmp_path / "own.yaml"
    declared.write_text(
        "name: categories\ntask: instance\nsplits: {val: {images: ., annotations: wrong.json}}\n"
    )
    sound = tmp_path / "sound.json"
    sound.write_text(made["file"].read_text().replace(json.dumps(name), '"table"'))
    other = tmp_path / "other.yaml"
    other.write_text(
        f"name: {made['name']}_sound\ntask: instance\n"
        "splits: {val: {images: ., annotations: sound.json}}\n"
    )
    assert check.main([str(declared), str(other)]) == 1  # it goes on behind the fault
    out = capsys.readouterr().out
    first = next(line for line in out.splitlines() if "own.yaml" in line)
    assert re.search(rf"own\.yaml: cannot be loaded: .*wrong\.json: .*{message}", first)
    assert "_sound_val: 2 images" in out


@pytest.mark.parametrize(
    "name", ["images\\000.jpg", "000.JPG", " 000.jpg", "https://x.org/d/000.jpg", "a/b/000.jpg"]
)
def test_the_file_that_is_meant_is_named(tmp_path, name: str) -> None:
    made = instances(tmp_path, put("images", 0, "file_name", value=name))
    with pytest.raises(ValueError, match=r"'file_name'\); correct it to .*/000\.jpg") as caught:
        check_files_of(load_dicts(made["name"]), [made["name"]])
    assert name in str(caught.value)
    [problem] = inspect_dataset(made["name"]).problems
    assert problem.detail.endswith("there is " + str(tmp_path / "000.jpg"))


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ("my pic #1.jpg", "my%20pic%20%231.jpg"),
        ("my%20pic.jpg", "my pic.jpg"),
        ("my pic.jpg", "img/my%20pic.jpg"),
        ("a.jpg", "a"),
        ("a.jpg", "a.png"),
        ("f\u00e4lle.jpg", "fa\u0308lle.jpg"),
    ],
)
def test_the_file_that_an_address_or_another_extension_means(tmp_path, there, name: str) -> None:
    made = instances(tmp_path, put("images", 0, "file_name", value=name))
    (tmp_path / "000.jpg").rename(tmp_path / there)
    with pytest.raises(ValueError, match=rf"correct it to {re.escape(str(tmp_path / there))}$"):
        check_files_of(load_dicts(made["name"]), [made["name"]])
    (tmp_path / f"{Path(there).stem}.gif").touch()
    (tmp_path / f"{Path(there).stem}.bmp").touch()
    if name in ("a", "a.png"):  # which of them?
        with pytest.raises(ValueError, match="put it there, or correct the name"):
            check_files_of(load_dicts(made["name"]), [made["name"]])


def test_a_file_that_nothing_is_like_has_a_remedy_too(tmp_path) -> None:
    made = instances(tmp_path, put("images", 0, "file_name", value="none.jpg"))
    with pytest.raises(ValueError, match=r"none\.jpg \('file_name'\); put it there, or correct"):
        check_files_of(load_dicts(made["name"]), [made["name"]])


def test_categories_of_one_name_are_hinted_at(tmp_path) -> None:
    write_image(tmp_path / "000.jpg")
    content = coco_json([annotation()], 1)
    (tmp_path / "a.json").write_text(json.dumps(content))
    for names, is_hinted in ((["Cell", "cell", "floor"], True), (["cell", "cells", "c"], False)):
        name = unique_name("named")
        categories = [
            Category(number, own, True, (number, 0, 0))
            for number, own in zip((5, 7, 9), names, strict=True)
        ]
        register_dataset(
            name, "instance", {"images": tmp_path, "annotations": tmp_path / "a.json"}, categories
        )
        found = [hint for hint in inspect_dataset(name).hints if "have one name, 'Cell'" in hint]
        assert len(found) == is_hinted


def test_images_without_segments_are_said(tmp_path, caplog) -> None:
    made = panoptic(tmp_path)
    made["content"]["images"].append({**made["content"]["images"][0], "id": 77})
    made["file"].write_text(json.dumps(made["content"]))
    with caplog.at_level(logging.WARNING, logger="d2seg"):
        load_dicts(made["name"])
    assert "1 images have no annotation and are left out" in caplog.text


def test_a_file_of_nothing_is_not_called_sound(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    name = instances(tmp_path / "a", put("annotations", value=[]))["name"]
    assert any("no picture has any" in hint for hint in inspect_dataset(name).hints)
    (tmp_path / "b").mkdir()
    nothing = instances(tmp_path / "b", lambda content: content.update(images=[], annotations=[]))
    with pytest.raises(ValueError, match="has no image"):
        inspect_dataset(nothing["name"])


def test_numbers_of_thousands_of_digits(tmp_path) -> None:
    made = instances(tmp_path)
    made["file"].write_text(f'{{"images": [{"9" * 5000}]}}')
    with pytest.raises(ValueError, match=r"wrong\.json: .*a number in it has thousands of digits$"):
        load_dicts(made["name"])
