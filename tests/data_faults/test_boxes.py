"""Boxes elsewhere than their masks: detectron2's mapper trains on the masks' boxes, too."""

import re

import numpy as np
import pytest
import torch
from coco_cases import SQUARE, instances, put, square_mask
from dataset_files import square_rle, unique_name
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from mapper_samples import make_cfg

from d2seg.data.dicts import load_dicts
from d2seg.data.entries import with_own_box
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.mappers import build_mapper
from d2seg.evaluation.instance import InstanceEvaluator

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


def test_boxes_of_five_numbers(tmp_path) -> None:
    """With a score behind them, say: AP ended in an IndexError. Turned ones are named as such."""
    made = instances(tmp_path, put("annotations", 0, "bbox", value=[3, 2, 5, 4, 0.9]))
    message = r"'bbox' is \[3, 2, 5, 4, 0\.9\]; it is four numbers, or five of a turned box"
    for read in (load_dicts, InstanceEvaluator):
        with pytest.raises(ValueError, match=message):
            read(made["name"])
    [problem] = inspect_dataset(made["name"]).problems
    assert re.search(message, problem.detail)
    turned = {"bbox": [5.5, 4.0, 5.0, 4.0, 30.0], "bbox_mode": BoxMode.XYWHA_ABS, "category_id": 0}
    for mask, expected in ((None, None), (MASKS["polygon"], [3, 2, 5, 4])):
        entry = {"file_name": "a", "height": 12, "width": 16, "annotations": [turned]}
        if mask is not None:
            entry["annotations"] = [{**turned, "segmentation": mask}]
        name = unique_name()
        DatasetCatalog.register(name, lambda entry=entry: [entry])
        MetadataCatalog.get(name).thing_classes = ["a"]
        assert load_dicts(name)[0]["annotations"][0]["bbox"] == turned["bbox"]
        if mask is None:
            with pytest.raises(ValueError, match="'bbox' is a turned box, and AP is of upright"):
                InstanceEvaluator(name)
        else:
            [found] = InstanceEvaluator(name)._coco_api.dataset["annotations"]
            assert found["bbox"] == expected
