"""Every problem is planted in a small data set; each must be found, and nothing else."""

from collections import Counter

import numpy as np
import pytest
from dataset_files import (
    H,
    W,
    annotation,
    coco_json,
    label_map,
    square_rle,
    unique_name,
    write_image,
    write_json,
    write_panoptic,
    write_png,
    write_semantic,
)
from detectron2.structures import BoxMode
from PIL import Image

from d2seg.data.datasets.categories import Category
from d2seg.data.datasets.registration import register_dataset
from d2seg.data.inspection.dataset import LabelSpace, inspect_dataset, inspect_entry
from d2seg.data.inspection.hints import undeclared_hints, value_hints
from d2seg.data.label_values import parse_label_values

SPACE = LabelSpace({"semantic": 3, "panoptic": 3, "instance": 2}, ignore_label=255)
CATEGORIES = [
    Category(5, "table", True, (1, 2, 3)),
    Category(7, "floor", False, (4, 5, 6)),
    Category(9, "chair", True, (7, 8, 9)),
]


def kinds(report) -> Counter:
    return Counter(problem.kind for problem in report.problems)


@pytest.fixture
def semantic(tmp_path):
    write_semantic(tmp_path)
    name = unique_name()
    folders = {"images": tmp_path / "images/train", "labels": tmp_path / "labels/train"}
    register_dataset(name, "semantic", folders, CATEGORIES)
    return name, tmp_path


def test_a_sound_data_set_has_counts_and_no_problems(semantic):
    report = inspect_dataset(semantic[0], workers=2)
    assert report.problems == report.hints == []
    assert report.num_images == 2
    pixels = {v: 2 * n for v, n in Counter(label_map().ravel().tolist()).items()}
    assert report.values == pixels
    assert report.counts["semantic"].pixels == {v: pixels[v] for v in range(3)}
    assert report.counts["semantic"].images == {0: 2, 1: 2, 2: 2}


def test_problems_of_label_maps_are_found(semantic):
    name, root = semantic
    labels = label_map()
    labels[3, :5] = 8
    write_png(root / "labels/train/000.png", labels)
    write_png(root / "labels/train/001.png", label_map()[:-2])
    write_image(root / "images/train/only.jpg")
    write_png(root / "labels/train/extra.png", label_map())
    write_image(root / "images/train/void.jpg")
    write_png(root / "labels/train/void.png", np.full((H, W), 255, np.uint8))
    write_image(root / "images/train/rgb.jpg")
    write_png(root / "labels/train/rgb.png", np.zeros((H, W, 3), np.uint8))
    write_png(root / "labels/train/broken.png", label_map())
    (root / "images/train/broken.jpg").write_bytes(b"\xff\xd8 no image")
    report = inspect_dataset(name)
    assert kinds(report) == {
        "label out of range": 1,
        "annotation and image differ in size": 1,
        "image without label map": 1,
        "label map without image": 1,
        "nothing annotated": 1,
        "unreadable label map": 1,
        "unreadable image": 1,
    }
    by_kind = {p.kind: p for p in report.problems}
    wrong = by_kind["label out of range"]
    assert wrong.file.endswith("000.png")
    assert wrong.detail == "value 8 in 5 pixels"
    assert by_kind["annotation and image differ in size"].detail.startswith(f"{H - 2}x{W}")


def test_values_that_are_not_declared_are_found_and_explained(tmp_path):
    values = {0: "table", 255: "floor", 7: "chair"}
    for number in range(2):
        write_image(tmp_path / f"images/{number}.jpg")
        pixels = np.zeros((H, W), np.uint8)
        pixels[:, 8:], pixels[0, 0] = 255, 7
        write_png(tmp_path / f"labels/{number}.png", pixels)
    pixels[3, :6] = [1, 2, 3, 4, 4, 200]
    write_png(tmp_path / "labels/1.png", pixels)
    names = ["table", "floor", "chair"]
    name = unique_name()
    folders = {"images": tmp_path / "images", "labels": tmp_path / "labels"}
    label_values = parse_label_values(values, names, ignore_label=255)
    register_dataset(name, "semantic", folders, CATEGORIES, label_values=label_values)
    report = inspect_dataset(name)
    assert kinds(report) == {"label value not declared": 5}
    assert [p.detail for p in report.problems if "value 4" in p.detail] == ["value 4 in 2 pixels"]
    assert all(p.file.endswith("1.png") for p in report.problems)
    assert report.undeclared == {1: 1, 2: 1, 3: 1, 4: 2, 200: 1}
    (hint,) = report.hints
    assert "nearest_value: true" in hint
    assert "'other' besides 0, 7, 255" in hint
    assert report.counts["semantic"].pixels == {0: 2 * H * 8 - 2 - 6, 1: 2 * H * 8, 2: 2}


def test_hints_on_values_that_are_not_declared():
    values = parse_label_values({0: "a", 1: "b"}, ["a", "b"], ignore_label=9)
    assert undeclared_hints(Counter(), values) == []
    assert undeclared_hints(Counter({5: 1, 6: 1}), values) == []
    (hint,) = undeclared_hints(Counter({255: 1}), values)
    assert "declare ignore_label: 255" in hint


def test_size_of_the_entry_and_exif_turns_are_seen(tmp_path):
    file = write_image(tmp_path / "a.jpg")
    report = inspect_entry({"file_name": str(file), "height": W, "width": H}, SPACE)
    assert kinds(report) == {"wrong image size": 1}
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    with Image.open(file) as image:
        image.save(tmp_path / "b.jpg", exif=exif)
    turned = {"file_name": str(tmp_path / "b.jpg"), "height": W, "width": H}
    assert not inspect_entry(turned, SPACE).problems


def panoptic_entry(root, segments):
    write_panoptic(root)
    return {
        "file_name": str(root / "images/000.jpg"),
        "pan_seg_file_name": str(root / "png/000.png"),
        "segments_info": segments,
    }


def test_a_sound_panoptic_entry_is_counted(tmp_path):
    segments = [{"id": 300, "category_id": 0}, {"id": 70000, "category_id": 2}]
    report = inspect_entry(panoptic_entry(tmp_path, segments), SPACE)
    assert not report.problems
    assert report.counts["panoptic"].pixels == {0: H * W // 2, 2: H * W // 2}
    assert report.counts["panoptic"].instances == {0: 1, 2: 1}


def test_problems_of_panoptic_entries_are_found(tmp_path):
    segments = [
        {"id": 300, "category_id": 3},
        {"id": 9, "category_id": 1},
        {"id": 9, "category_id": 1},
    ]
    report = inspect_entry(panoptic_entry(tmp_path, segments), SPACE)
    assert kinds(report) == {
        "category out of range": 1,
        "empty mask": 2,
        "segment listed twice": 1,
        "segment not listed": 1,
    }
    unlisted = next(p for p in report.problems if p.kind == "segment not listed")
    assert unlisted.detail == f"id 70000, {H * W // 2} pixels"


def instance_entry(root, *annotations):
    entries = [
        {"bbox_mode": BoxMode.XYWH_ABS, **annotation(category_id=1, **a)} for a in annotations
    ]
    file = str(write_image(root / "a.jpg"))
    return {"file_name": file, "height": H, "width": W, "annotations": entries}


def test_polygons_rle_and_bitmaps_have_the_same_area(tmp_path):
    bitmap = np.zeros((H, W), bool)
    bitmap[2:6, 3:8] = True
    uncompressed = {
        "size": [H, W],
        "counts": [3 * H + 2, 4, H - 4, 4, H - 4, 4, H - 4, 4, H - 4, 4, 9 * H - 6],
    }
    masks = [annotation()["segmentation"], square_rle(), bitmap, uncompressed]
    report = inspect_entry(instance_entry(tmp_path, *({"segmentation": m} for m in masks)), SPACE)
    assert not report.problems
    assert report.formats == {"polygon": 1, "RLE": 2, "bitmap": 1}
    assert report.counts["instance"].pixels == {1: 4 * 20}
    assert report.counts["instance"].instances == {1: 4}
    assert report.counts["instance"].images == {1: 1}


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"category_id": 2}, "category out of range"),
        ({"segmentation": None}, "no mask"),
        ({"segmentation": [[0.1, 0.2, 0.5, 0.2, 0.5, 0.9]]}, "unusable mask"),
        ({"segmentation": {"size": [H, W]}}, "unusable mask"),
        ({"segmentation": [[100, 100, 110, 100, 110, 110]]}, "empty mask"),
        ({"segmentation": np.zeros((H, W))}, "empty mask"),
        ({"segmentation": square_rle((W, H))}, "annotation and image differ in size"),
        ({"segmentation": np.ones((H, W + 1))}, "annotation and image differ in size"),
        ({"bbox": [3, 2, 0, 4]}, "empty box"),
    ],
)
def test_problems_of_annotations_are_found(tmp_path, change, kind):
    entry = instance_entry(tmp_path, {})
    entry["annotations"][0].update(change)
    assert kinds(inspect_entry(entry, SPACE)) == {kind: 1}


def test_boxes_of_two_corners_are_understood(tmp_path):
    entry = instance_entry(tmp_path, {"bbox": [3, 2, 8, 6], "bbox_mode": BoxMode.XYXY_ABS})
    assert not inspect_entry(entry, SPACE).problems


def test_annotations_that_the_reader_drops_and_images_listed_twice_are_found(tmp_path):
    content = coco_json([annotation(), annotation(segmentation=[[1, 1, 2, 2]])], num_images=2)
    content["images"][1]["file_name"] = "000.jpg"
    write_image(tmp_path / "000.jpg")
    file = write_json(tmp_path / "a.json", content)
    name = unique_name()
    register_dataset(name, "instance", {"images": tmp_path, "annotations": file}, CATEGORIES)
    report = inspect_dataset(name)
    assert kinds(report) == {"unusable mask": 1, "image listed twice": 1}
    details = [problem.detail for problem in report.problems]
    assert any("has a polygon of 4 numbers" in detail for detail in details)


@pytest.mark.parametrize(
    ("values", "num_classes", "hint"),
    [
        ({0, 1, 2, 255}, 3, None),
        ({1, 2}, 3, None),
        ({0, 255}, 2, "declare values: {0: background, 255: object}"),
        ({1, 2, 3, 255}, 3, "--reduce-zero-label"),
        ({0, 1, 2, 3}, 3, "one more than there are classes"),
        ({255}, 3, "every pixel has the ignore label"),
        ({0, 60, 120, 180, 240}, 3, "grey levels"),
        (set(range(100)), 3, "interpolation"),
        ({0, 4}, 3, "declare ignore_label: 4"),
    ],
)
def test_hints_on_label_conventions(values, num_classes, hint):
    found = value_hints(Counter(dict.fromkeys(values, 10)), num_classes, 255)
    assert len(found) == (hint is not None)
    assert hint is None or hint in found[0]


def test_a_hint_on_another_ignore_label():
    (hint,) = value_hints(Counter({0: 1, 1: 1, 255: 1}), 2, 11)
    assert "declare ignore_label: 255" in hint
    assert "declare 'values'" in hint
