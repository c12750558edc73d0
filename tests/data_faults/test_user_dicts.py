"""Dicts that a user registers in Python: what numpy and torch make of numbers, and odd entries."""

from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from coco_cases import SQUARE, square_mask
from dataset_files import H, W, unique_name, write_image
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from d2seg.data.dicts import load_dicts
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.evaluation.instance import InstanceEvaluator

RUNS = mask_util.encode(np.asfortranarray(square_mask().astype(np.uint8)))
LONG = [38, 4, 8, 4, 8, 4, 8, 4, 8, 4, 102]  # of the same square
HARMLESS: dict[str, dict[str, Any]] = {
    "numpy's numbers in a polygon": {"segmentation": [[np.float32(x) for x in SQUARE]]},
    "points in rows": {"segmentation": [np.reshape(SQUARE, (-1, 2))]},
    "size as an array": {"segmentation": {**RUNS, "size": np.array([H, W])}},
    "size of numpy's numbers": {"segmentation": {**RUNS, "size": [np.int64(H), np.int64(W)]}},
    "runs in a tuple": {"segmentation": {"size": (H, W), "counts": tuple(LONG)}},
    "runs of numpy's numbers": {
        "segmentation": {"size": [H, W], "counts": [np.uint32(run) for run in LONG]}
    },
    "class as a tensor": {"category_id": torch.tensor(0)},
    "class as an array": {"category_id": np.array(0)},
    "crowd as a tensor": {"iscrowd": torch.tensor(0)},
    "key points as a tensor": {"keypoints": torch.ones(3, 3)},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "mode 7": ({"bbox_mode": 7}, "'bbox_mode' is 7; it is BoxMode.XYXY_ABS"),
    "mode as text": ({"bbox_mode": "XYXY"}, "'bbox_mode' is 'XYXY'"),
    "no mode": ({"bbox_mode": None}, "'bbox_mode' is missing"),
    "parts of the picture": ({"bbox_mode": BoxMode.XYWH_REL}, "'bbox_mode' is <BoxMode.XYWH_REL"),
    "mask of NaN": ({"segmentation": np.full((H, W), np.nan)}, "values that are not finite"),
    "mask of objects": ({"segmentation": np.full((H, W), None)}, "an array, but not of numbers"),
    "class as a vector": ({"category_id": torch.tensor([0, 1])}, "'category_id' is tensor([0, 1])"),
}


def entry_of(folder: Any, **change: Any) -> dict[str, Any]:
    annotation = {
        "category_id": 0,
        "bbox": [3, 2, 5, 4],
        "bbox_mode": BoxMode.XYWH_ABS,
        "segmentation": [SQUARE],
    }
    return {
        "file_name": str(write_image(folder / "a.png")),
        "height": H,
        "width": W,
        "image_id": 1,
        "annotations": [{**annotation, **change}],
    }


def register(dicts: Any) -> str:
    name = unique_name("user")
    DatasetCatalog.register(name, dicts if callable(dicts) else lambda: dicts)
    MetadataCatalog.get(name).set(thing_classes=["a"], evaluator_type="coco")
    return name


@pytest.mark.parametrize("case", HARMLESS)
def test_what_is_harmless_is_used(tmp_path, case: str) -> None:
    name = register([entry_of(tmp_path, **HARMLESS[case])])
    [entry] = load_dicts(name, for_test=True)
    assert type(entry["annotations"][0]["category_id"]) is int
    report = inspect_dataset(name)
    assert not report.problems
    assert report.counts["instance"].pixels[0] == 20
    InstanceEvaluator(name)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_named(tmp_path, case: str) -> None:
    change, message = REFUSED[case]
    name = register([entry_of(tmp_path, **change)])
    for use in (load_dicts, InstanceEvaluator):
        with pytest.raises(ValueError, match=r"a\.png: annotation 0: ") as caught:
            use(name)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    [problem] = inspect_dataset(name).problems
    assert message in problem.detail


@pytest.mark.parametrize("size", [np.float32(H), torch.tensor(H), np.array(H)])
def test_sizes_of_other_kinds_are_numbers(tmp_path, size: Any) -> None:
    name = register([{**entry_of(tmp_path), "height": size}])
    assert load_dicts(name)[0]["height"] == H
    assert not inspect_dataset(name).problems


@pytest.mark.parametrize("image_id", [[1], {}, torch.tensor(1), np.array([1])])
def test_ids_that_number_nothing(tmp_path, image_id: Any) -> None:
    name = register([{**entry_of(tmp_path), "image_id": image_id}])
    load_dicts(name)  # in training, ids are not read
    with pytest.raises(ValueError, match=r"a\.png: 'image_id' is .*; it is a whole number or text"):
        load_dicts(name, for_test=True)


@pytest.mark.parametrize("dicts", [{"a": 1}, "abc", [[]], [3]])
def test_the_checker_names_entries_that_are_no_dicts(dicts: Any) -> None:
    problems = inspect_dataset(register(dicts)).problems
    assert problems
    assert all("no dict" in problem.detail for problem in problems)


@pytest.mark.parametrize("error", [RuntimeError("a\nb"), ImportError("no x"), ZeroDivisionError()])
def test_loaders_that_fail_in_any_way_are_named(error: Exception) -> None:
    def load() -> list:
        raise error

    with pytest.raises(ValueError, match=r"data set 'user\d+' cannot be loaded: ") as caught:
        load_dicts(register(load))
    assert type(error).__name__ in str(caught.value)
    assert "\n" not in str(caught.value)
