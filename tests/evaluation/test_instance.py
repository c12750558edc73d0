"""The instance evaluator: one AP from every implementation, cases by hand, real data."""

import contextlib
import io
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import COCOEvaluator, coco_evaluation
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2seg.evaluation import InstanceEvaluator
from d2seg.evaluation.instance import coco_eval_class
from evaluation.evaluation_cases import (
    INSTANCE_NAME,
    OBJECTS,
    evaluate,
    instance_output,
    make_instances,
    rectangle,
    register,
    register_coco,
    unregister,
)


@pytest.fixture(autouse=True)
def clean():
    coco_eval_class.cache_clear()
    yield
    coco_eval_class.cache_clear()
    unregister(INSTANCE_NAME)


def score(evaluator, outputs: dict[int, Instances]) -> dict:
    return evaluate(evaluator, [({"image_id": i}, {"instances": x}) for i, x in outputs.items()])


# ---------------------------------------------------------------- by hand


@pytest.mark.parametrize("things", [{3: 0, 8: 1}, {3: 7, 8: 2}])
def test_worked_by_hand(tmp_path, things):
    """Also where the thing classes are not the first of the label space, or in another order."""
    name = make_instances(tmp_path, OBJECTS, thing_dataset_id_to_contiguous_id=things)
    cat, dog = things[3], things[8]
    # One of two cats found, exactly: precision 1 up to recall 0.5, 51 of 101 recall points.
    # The dog is found with IoU 80 / 100: right at thresholds 0.5 to 0.8, 7 of 10.
    masks = [rectangle(0, 0, 10, 10), rectangle(0, 20, 8, 10)]
    result = score(InstanceEvaluator(name), {1: instance_output(masks, [0.9, 0.8], [cat, dog])})
    for task in ("bbox", "segm"):
        assert result[task]["AP-cat"] == pytest.approx(100 * 51 / 101)
        assert result[task]["AP-dog"] == pytest.approx(70)
        assert result[task]["AP"] == pytest.approx((100 * 51 / 101 + 70) / 2)
        assert result[task]["APs"] == pytest.approx(result[task]["AP"])
        assert np.isnan(result[task]["APl"])


def test_standard_panoptic_metadata(tmp_path):
    """``thing_classes`` lists stuff too there, which detectron2's evaluator cannot take."""
    name = make_instances(
        tmp_path,
        OBJECTS,
        thing_classes=["cat", "dog", "sky"],
        thing_dataset_id_to_contiguous_id={3: 0, 8: 1},
    )
    outputs = {1: instance_output([rectangle(0, 0, 10, 10)], [1.0], [0])}
    with pytest.raises(AssertionError):
        score(COCOEvaluator(name), outputs)
    assert score(InstanceEvaluator(name), outputs)["segm"]["AP-dog"] == 0


@pytest.mark.parametrize("has_fast", [True, False])
def test_more_than_100_objects_count(tmp_path, monkeypatch, has_fast: bool) -> None:
    """As many as the model may give: AP stops at 100 detections of an image in COCO's."""
    if not has_fast:
        monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    places = [(3 * (i % 13), 3 * (i // 13)) for i in range(150)]
    objects = [(3, x, y, 2, 2) for x, y in places]
    name = make_instances(tmp_path, objects, thing_dataset_id_to_contiguous_id={3: 0, 8: 1})
    masks = [rectangle(x, y, 2, 2) for x, y in places]
    outputs = {1: instance_output(masks, np.linspace(0.9, 0.5, 150).tolist(), [0] * 150)}
    by_default = score(InstanceEvaluator(name), outputs)
    assert by_default["segm"]["AP"] == pytest.approx(66.34, abs=0.01)
    results = score(InstanceEvaluator(name, max_detections=200), outputs)
    for task in ("bbox", "segm"):
        assert results[task]["AP"] == pytest.approx(100)
        assert results[task]["AP50"] == pytest.approx(100)
        assert results[task]["APs"] == pytest.approx(100)
        assert results[task]["AP-cat"] == pytest.approx(100)


def test_no_prediction_gives_nan(tmp_path):
    name = make_instances(tmp_path, OBJECTS, thing_dataset_id_to_contiguous_id={3: 0, 8: 1})
    result = score(InstanceEvaluator(name), {1: instance_output([], [], [])})
    assert np.isnan(result["bbox"]["AP"])


def test_saved_results_are_in_the_ids_of_the_data_set(tmp_path):
    name = make_instances(tmp_path, OBJECTS, thing_dataset_id_to_contiguous_id={3: 7, 8: 2})
    outputs = {1: instance_output([rectangle(0, 0, 10, 10)], [1.0], [2])}
    score(InstanceEvaluator(name, str(tmp_path / "out")), outputs)
    saved = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    assert [x["category_id"] for x in saved] == [8]
    COCO(str(tmp_path / "gt.json")).loadRes(saved)  # what COCO's server reads


def test_annotations_without_a_json_are_converted_anew(tmp_path):
    def record(width: int) -> dict:
        return {
            "file_name": "1.jpg",
            "image_id": 1,
            "height": 40,
            "width": 40,
            "annotations": [
                {"bbox": [0, 0, width, 10], "bbox_mode": 1, "category_id": 0}  # XYWH_ABS
            ],
        }

    outputs = {1: instance_output([rectangle(0, 0, 10, 10)], [1.0], [0])}
    results = []
    for width in (10, 30):  # the data set changes between two runs in one folder
        register(INSTANCE_NAME, [record(width)], thing_classes=["cat"])
        evaluator = InstanceEvaluator(INSTANCE_NAME, str(tmp_path))
        results.append(score(evaluator, outputs))
    assert [x["bbox"]["AP"] for x in results] == pytest.approx([100, 0])
    assert list(results[0]) == ["bbox"]  # no masks to compare with


def test_test_split_without_annotations_is_only_saved(tmp_path, caplog):
    name = make_instances(tmp_path, OBJECTS, thing_dataset_id_to_contiguous_id={3: 0, 8: 1})
    content = json.loads((tmp_path / "gt.json").read_text())
    del content["annotations"]
    (tmp_path / "gt.json").write_text(json.dumps(content))
    evaluator = InstanceEvaluator(name, str(tmp_path / "out"))
    with caplog.at_level(logging.INFO, logger="d2seg"):
        result = score(evaluator, {1: instance_output([rectangle(0, 0, 5, 5)], [1.0], [0])})
    assert result == {}
    assert (tmp_path / "out" / "coco_instances_results.json").exists()
    assert "no instance annotations" in caplog.text


def test_unknown_class_is_named(tmp_path):
    name = make_instances(tmp_path, OBJECTS, thing_dataset_id_to_contiguous_id={3: 0, 8: 1})
    with pytest.raises(ValueError, match=r"class 2 for image 1.*2 thing classes"):
        score(InstanceEvaluator(name), {1: instance_output([rectangle(0, 0, 5, 5)], [1.0], [2])})


def test_metadata_that_contradict_the_json_are_named(tmp_path):
    name = make_instances(tmp_path, OBJECTS, thing_dataset_id_to_contiguous_id={3: 0, 9: 1})
    with pytest.raises(ValueError, match=r"only in the JSON: \[8\], only in the metadata: \[9\]"):
        InstanceEvaluator(name)


# ---------------------------------------------------------------- implementations


def test_order_of_implementations(monkeypatch):
    faster = pytest.importorskip("faster_coco_eval")
    monkeypatch.setattr(coco_evaluation, "COCOeval_opt", COCOeval)  # not compiled
    assert coco_eval_class() is faster.COCOeval_faster

    class Compiled(COCOeval):
        pass

    monkeypatch.setattr(coco_evaluation, "COCOeval_opt", Compiled)
    coco_eval_class.cache_clear()
    assert coco_eval_class() is Compiled


def test_fallback_to_pycocotools_is_logged_once(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(coco_evaluation, "COCOeval_opt", COCOeval)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    name = make_instances(tmp_path, OBJECTS, thing_dataset_id_to_contiguous_id={3: 0, 8: 1})
    outputs = {1: instance_output([rectangle(0, 0, 10, 10)], [1.0], [0])}
    with caplog.at_level(logging.INFO, logger="d2seg"):
        for _ in range(2):
            result = score(InstanceEvaluator(name), outputs)  # boxes and masks: four in all
    assert coco_eval_class() is COCOeval
    assert caplog.text.count("pip install faster-coco-eval") == 1
    assert result["segm"]["AP-cat"] == pytest.approx(100 * 51 / 101)


def random_results(rng: np.random.Generator, gt: COCO) -> list[dict]:
    """Detections of all qualities: near a true object, of its class or not, or anywhere."""
    results = []
    for image_id, image in gt.imgs.items():
        annotations = gt.loadAnns(gt.getAnnIds(imgIds=image_id))
        for annotation in annotations * 2:
            if rng.random() < 0.2:
                continue
            mask = gt.annToMask(annotation)
            mask = np.roll(mask, rng.integers(-6, 7, 2), axis=(0, 1))
            mask[rng.random(mask.shape) < rng.choice([0, 0.1, 0.4])] = 0
            category = annotation["category_id"]
            if rng.random() < 0.15:
                category = int(rng.choice(gt.getCatIds()))
            results.append(_result(image_id, category, mask, rng))
        for _ in range(3):
            mask = np.zeros((image["height"], image["width"]), np.uint8)
            y, x = (int(rng.integers(0, n - 20)) for n in mask.shape)
            mask[y : y + 20, x : x + 20] = 1
            results.append(_result(image_id, int(rng.choice(gt.getCatIds())), mask, rng))
    return [x for x in results if x["bbox"][2] > 0]


def _result(image_id: int, category: int, mask: np.ndarray, rng: np.random.Generator) -> dict:
    rle = mask_util.encode(np.asfortranarray(mask))
    return {
        "image_id": image_id,
        "category_id": category,
        "bbox": mask_util.toBbox(rle).tolist(),
        "segmentation": {**rle, "counts": rle["counts"].decode()},
        "score": round(float(rng.random()), 1),  # with ties
    }


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("seed", [0, 1])
def test_faster_coco_eval_equals_pycocotools_on_coco(shared_dir, task, seed):
    """Every number there is: IoU thresholds x recalls x classes x area ranges x detections."""
    faster = pytest.importorskip("faster_coco_eval").COCOeval_faster
    json_file = shared_dir / "data" / "coco" / "annotations" / "instances_val2017.json"
    evaluations = []
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO(str(json_file))
        assert any(x["iscrowd"] for x in gt.anns.values())
        results = random_results(np.random.default_rng(seed), gt)
        for eval_class in (COCOeval, faster):
            evaluations.append(
                coco_evaluation._evaluate_predictions_on_coco(
                    gt, results, task, cocoeval_fn=eval_class
                )
            )
    theirs, ours = evaluations
    assert 0.05 < theirs.stats[0] < 0.95
    assert (theirs.stats[3:6] > 0).all()  # small, medium and large occur
    np.testing.assert_allclose(ours.stats, theirs.stats, atol=1e-12)
    for key in ("precision", "recall"):
        np.testing.assert_allclose(ours.eval[key], theirs.eval[key], atol=1e-12)


def coco_ground_truth(shared_dir: Path) -> dict[int, Instances]:
    """The objects that are not crowds, as instances in the panoptic label space."""
    with contextlib.redirect_stdout(io.StringIO()):
        annotations = shared_dir / "data" / "coco" / "annotations"
        gt = COCO(str(annotations / "instances_val2017.json"))
    class_of = {category: i for i, category in enumerate(sorted(gt.getCatIds()))}
    outputs = {}
    for image_id, image in gt.imgs.items():
        objects = gt.loadAnns(gt.getAnnIds(imgIds=image_id, iscrowd=False))
        result = Instances((image["height"], image["width"]))
        boxes = np.array([x["bbox"] for x in objects], np.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        masks = [gt.annToMask(x).astype(bool) for x in objects]
        result.pred_masks = torch.from_numpy(np.stack(masks))
        result.pred_boxes = Boxes(torch.from_numpy(boxes))
        result.scores = torch.ones(len(objects))
        result.pred_classes = torch.tensor([class_of[x["category_id"]] for x in objects])
        outputs[image_id] = result
    return outputs


def test_coco_ground_truth_scores_100(shared_dir):
    result = score(InstanceEvaluator(register_coco(shared_dir)), coco_ground_truth(shared_dir))
    for task in ("bbox", "segm"):
        for metric in ("AP", "AP50", "AP75", "APs", "APm", "APl"):
            assert result[task][metric] == pytest.approx(100), (task, metric)
    assert "AP-person" in result["segm"]
    assert "AP-wall-brick" not in result["segm"]


def test_detectron2_and_own_evaluator_agree_on_a_plain_data_set(shared_dir, tmp_path):
    """``coco_2017_val``-like: things only, no panoptic label space."""
    from detectron2.data.datasets import register_coco_instances

    root = shared_dir / "data" / "coco"
    unregister(INSTANCE_NAME)
    json_file = str(root / "annotations" / "instances_val2017.json")
    register_coco_instances(INSTANCE_NAME, {}, json_file, str(root / "val2017"))
    DatasetCatalog.get(INSTANCE_NAME)  # sets the mapping, as making the loader does
    outputs = coco_ground_truth(shared_dir)
    rng = np.random.default_rng(0)
    for output in outputs.values():
        output.scores = torch.from_numpy(rng.random(len(output)).astype(np.float32))
        output.pred_boxes.tensor += torch.from_numpy(rng.normal(0, 4, (len(output), 4)))
        output.pred_classes[torch.from_numpy(rng.random(len(output)) < 0.2)] = 0
    ours = score(InstanceEvaluator(INSTANCE_NAME), outputs)
    theirs = score(COCOEvaluator(INSTANCE_NAME, use_fast_impl=False), outputs)
    for task in ("bbox", "segm"):
        assert ours[task] == pytest.approx(theirs[task], abs=1e-9, nan_ok=True)
