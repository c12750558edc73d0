"""Boxes elsewhere than their masks: detectron2's mapper trains on the masks' boxes, too."""

import numpy as np
import pytest
import torch
from coco_cases import SQUARE, instances, square_mask
from dataset_files import square_rle
from detectron2.structures import BoxMode
from mapper_samples import make_cfg

from d2seg.data.dicts import load_dicts
from d2seg.data.entries import with_own_box
from d2seg.data.mappers import build_mapper

SIZE = (12, 16)
MASKS = {
    "polygon": [[float(x) for x in SQUARE]],
    "two polygons": [[3, 2, 8, 2, 8, 4, 3, 4], [3, 4, 8, 4, 8, 6, 3, 6]],
    "RLE": square_rle(),
    "array": square_mask().astype(np.uint8),
}
WRONG = {
    "elsewhere": ([9.0, 9.0, 2.0, 2.0], BoxMode.XYWH_ABS),
    "x and y swapped": ([6.0, 12.0, 4.0, 5.0], BoxMode.XYWH_ABS),
    "of the whole image": ([0.0, 0.0, 16.0, 12.0], BoxMode.XYXY_ABS),
    "no area": ([3.0, 2.0, 0.0, 0.0], BoxMode.XYWH_ABS),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("box", WRONG)
def test_the_box_of_the_mask_counts(mask: str, box: str) -> None:
    values, mode = WRONG[box]
    given = {"bbox": values, "bbox_mode": mode, "segmentation": MASKS[mask], "category_id": 0}
    found = with_own_box(given, SIZE)
    assert found["bbox"] == [3.0, 2.0, 5.0, 4.0]
    assert found["bbox_mode"] == BoxMode.XYWH_ABS


@pytest.mark.parametrize("mask", MASKS)
def test_a_box_around_the_mask_stays(mask: str) -> None:
    for values, mode in (([2.5, 1.5, 6, 5], BoxMode.XYWH_ABS), ([3, 2, 8, 6], BoxMode.XYXY_ABS)):
        given = {"bbox": values, "bbox_mode": mode, "segmentation": MASKS[mask]}
        assert with_own_box(given, SIZE) is given
    for given in ({"bbox": [9, 9, 2, 2], "bbox_mode": 1}, {"segmentation": MASKS[mask]}):
        assert with_own_box(given, SIZE) is given


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_detectron2s_mapper(tmp_path, mask_format: str) -> None:
    def elsewhere(content: dict) -> None:
        for annotation in content["annotations"]:
            annotation.update(bbox=[9, 9, 2, 2], segmentation=[SQUARE])

    entry = load_dicts(instances(tmp_path, elsewhere)["name"])[0]
    cfg = make_cfg("detectron2", MASK_FORMAT=mask_format)
    cfg.MODEL.MASK_ON = True
    sample = build_mapper(cfg, is_train=True)(entry)
    assert torch.equal(sample["instances"].gt_boxes.tensor, torch.tensor([[3.0, 2.0, 8.0, 6.0]]))
    assert entry["annotations"][0]["bbox"] == [9, 9, 2, 2]  # the data set's own stay
