"""d2seg.data.mappers: what is refused, and that the message names the file."""

from pathlib import Path

import numpy as np
import pytest
from mapper_samples import (
    H,
    W,
    blocks,
    make_cfg,
    semantic_dict,
    three_tasks,
    write_image,
)
from PIL import Image

from d2seg.data.mappers import build_mapper


def test_unknown_mapper():
    with pytest.raises(ValueError, match=r"INPUT\.MAPPER is 'coco'; it is one of detectron2, "):
        build_mapper(make_cfg("coco"), True)


@pytest.mark.parametrize("mapper", ["semantic", "panoptic"])
def test_ignore_value_among_the_classes(mapper: str):
    with pytest.raises(ValueError, match=r"IGNORE_VALUE 255 is one of the classes 0\.\.299"):
        build_mapper(make_cfg(mapper, num_classes=300), True)
    build_mapper(make_cfg("instance", num_classes=300), True)


@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize("damage", ["missing", "empty", "text", "truncated"])
def test_image_that_cannot_be_decoded(tmp_path, is_train: bool, damage: str):
    entry = three_tasks(tmp_path, blocks())["instance"]
    path = Path(entry["file_name"])
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "text": b"hello", "truncated": content[:-60]}[damage])
    with pytest.raises(ValueError, match=r"cannot read the image .*image\.png: "):
        build_mapper(make_cfg("instance"), is_train)(entry)


@pytest.mark.parametrize(
    ("mapper", "key"), [("semantic", "sem_seg_file_name"), ("panoptic", "pan_seg_file_name")]
)
def test_label_map_that_cannot_be_decoded(tmp_path, mapper: str, key: str):
    entry = three_tasks(tmp_path, blocks())[mapper]
    Path(entry[key]).write_bytes(b"hello")
    with pytest.raises(ValueError, match=f"{Path(entry[key]).name}.*read|read.*"):
        build_mapper(make_cfg(mapper), True)(entry)


@pytest.mark.parametrize("is_train", [True, False])
def test_image_size_contradicts_the_annotation(tmp_path, is_train: bool):
    entry = {**three_tasks(tmp_path, blocks())["semantic"], "height": H + 1}
    with pytest.raises(
        ValueError, match=r"image\.png: the image is 40x60 .*, its entry says 41x60"
    ):
        build_mapper(make_cfg("semantic"), is_train)(entry)


@pytest.mark.parametrize(
    ("mapper", "key"), [("semantic", "sem_seg_file_name"), ("panoptic", "pan_seg_file_name")]
)
def test_label_map_of_another_size(tmp_path, mapper: str, key: str):
    entry = three_tasks(tmp_path, blocks())[mapper]
    Image.open(entry[key]).crop((0, 0, W, H - 3)).save(entry[key])
    with pytest.raises(ValueError, match=rf"{Path(entry[key]).name} has shape \(37, 60\), but"):
        build_mapper(make_cfg(mapper), True)(entry)


def test_labels_out_of_range(tmp_path):
    entry = semantic_dict(tmp_path, blocks())
    with pytest.raises(ValueError, match=r"labels\.png: labels outside of 0\.\.2 .*3 \(550 "):
        build_mapper(make_cfg("semantic", num_classes=3), True)(entry)


@pytest.mark.parametrize("mapper", ["panoptic", "instance"])
@pytest.mark.parametrize("wrong", [-1, 10, 255])
def test_category_out_of_range(tmp_path, mapper: str, wrong: int):
    entry = three_tasks(tmp_path, blocks())[mapper]
    (entry.get("annotations") or entry["segments_info"])[2]["category_id"] = wrong
    with pytest.raises(ValueError, match=rf"png: 1 of 4 annotations .* 0\.\.9, the first {wrong};"):
        build_mapper(make_cfg(mapper), True)(entry)


def test_segment_that_is_not_listed(tmp_path):
    entry = three_tasks(tmp_path, blocks())["panoptic"]
    entry["segments_info"] = entry["segments_info"][:3]
    with pytest.raises(ValueError, match=r"panoptic\.png has 550 pixels of segment id 905, which"):
        build_mapper(make_cfg("panoptic"), True)(entry)


@pytest.mark.parametrize("mapper", ["semantic", "panoptic", "instance"])
def test_ground_truth_of_another_task(tmp_path, mapper: str):
    entry = write_image(tmp_path, blocks())
    with pytest.raises(ValueError, match=rf"image\.png: INPUT\.MAPPER {mapper} needs '\w+' in the"):
        build_mapper(make_cfg(mapper), True)(entry)


@pytest.mark.parametrize(
    "wrong",
    [
        {"category_id": 1},
        {"category_id": 1, "segmentation": None},
        {"category_id": 1, "segmentation": "mask.png"},
        {"category_id": 1, "segmentation": [[1, 2, 3, 4, 5, 6, 7]]},
        {"category_id": 1, "segmentation": {"size": [H, W]}},
        {"category_id": 1, "segmentation": np.ones((H, W + 1), bool)},
        {"category_id": 1, "segmentation": {"size": [W, H], "counts": [0, H * W]}},
    ],
)
def test_segmentation_that_is_none(tmp_path, wrong: dict):
    entry = three_tasks(tmp_path, blocks())["instance"]
    entry["annotations"].insert(1, wrong)
    with pytest.raises(ValueError, match=r"image\.png: 'segmentation' of annotation 1 is neither"):
        build_mapper(make_cfg("instance"), True)(entry)
