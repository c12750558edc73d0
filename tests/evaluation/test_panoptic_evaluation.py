"""The panoptic evaluator against detectron2's own, on tiny and on real data."""

import copy
import json
import logging

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import COCOPanopticEvaluator

from d2seg.data.label_maps import read_id_map
from d2seg.evaluation import PanopticEvaluator
from evaluation.evaluation_cases import (
    PANOPTIC_CATEGORIES,
    PANOPTIC_NAME,
    evaluate,
    make_panoptic,
    panoptic_input,
    panoptic_output,
    register_coco,
    unregister,
)

METRICS = ["PQ", "SQ", "RQ", "PQ_th", "SQ_th", "RQ_th", "PQ_st", "SQ_st", "RQ_st"]


@pytest.fixture
def tiny(tmp_path):
    yield make_panoptic(tmp_path)
    unregister(PANOPTIC_NAME)


@pytest.fixture
def pairs():
    return [(panoptic_input(i), panoptic_output(i)) for i in range(4)]


def plain(pairs):
    """Copies that detectron2's evaluator can take: it wants True itself and plain numbers."""
    return [
        (
            image,
            {
                "panoptic_seg": (
                    output["panoptic_seg"][0].clone(),
                    [
                        {**{k: s[k] for k in ("id", "category_id")}, "isthing": bool(s["isthing"])}
                        for s in output["panoptic_seg"][1]
                    ],
                )
            },
        )
        for image, output in pairs
    ]


def test_worked_by_hand(tiny):
    # Every image: cat 8 pixels whole (IoU 1); dog whole, but called cat in images 1 and 3.
    # Sky has 48 - 8 - 12 - 6 = 22 pixels; predicted are columns 0 to 3 + i % 3 less cat and dog:
    # 10, 13, 16, 10 pixels. IoU 10/22, 13/22, 16/22, 10/22: two matches of four.
    pairs = [(panoptic_input(i), panoptic_output(i)) for i in range(4)]
    result = evaluate(PanopticEvaluator(tiny), pairs)["panoptic_seg"]
    cat = 4 / (4 + 2 / 2)  # two dogs are false cats
    dog = 2 / (2 + 2 / 2)
    sky = (13 + 16) / 22 / (2 + 2 / 2 + 2 / 2)
    assert list(result) == METRICS
    assert result["PQ"] == pytest.approx(100 * (cat + dog + sky) / 3)
    assert result["PQ_th"] == pytest.approx(100 * (cat + dog) / 2)
    assert result["PQ_st"] == pytest.approx(100 * sky)
    assert result["SQ_st"] == pytest.approx(100 * 29 / 44)
    assert result["RQ_st"] == pytest.approx(100 * 0.5)


def test_equal_to_detectron2(tiny, pairs):
    pytest.importorskip("panopticapi")
    theirs = evaluate(COCOPanopticEvaluator(tiny), plain(pairs))
    ours = evaluate(PanopticEvaluator(tiny), pairs)
    assert ours["panoptic_seg"] == pytest.approx(theirs["panoptic_seg"], abs=1e-9)


def test_the_output_of_the_model_is_left_alone(tiny, pairs):
    before = copy.deepcopy(pairs)
    evaluate(PanopticEvaluator(tiny), pairs)
    for (_, old), (_, new) in zip(before, pairs, strict=True):
        assert torch.equal(old["panoptic_seg"][0], new["panoptic_seg"][0])
        assert old["panoptic_seg"][1] == new["panoptic_seg"][1]


def test_saved_predictions_score_the_same_with_panopticapi(tiny, pairs, tmp_path):
    api = pytest.importorskip("panopticapi.evaluation")
    result = evaluate(PanopticEvaluator(tiny, str(tmp_path / "out")), pairs)["panoptic_seg"]
    saved = tmp_path / "out" / "predictions.json"
    theirs = api.pq_compute(
        str(tmp_path / "gt.json"), str(saved), str(tmp_path / "gt"), str(saved.with_suffix(""))
    )
    assert result["PQ"] == pytest.approx(100 * theirs["All"]["pq"], abs=1e-9)
    content = json.loads(saved.read_text())
    assert content["categories"] == PANOPTIC_CATEGORIES
    assert content["annotations"][1]["segments_info"][:2] == [
        {"id": 1, "category_id": 11, "score": 0.5},
        {"id": 2, "category_id": 11},
    ]


def test_nothing_is_written_without_output_dir(tiny, pairs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    evaluate(PanopticEvaluator(tiny), pairs)
    assert sorted(tmp_path.rglob("*")) == before


def labels_of(output: dict) -> torch.Tensor:
    """``category * 1000 + instance``, -1 = void, as PanopticDeepLab gives it."""
    ids, segments = output["panoptic_seg"]
    labels = torch.full(ids.shape, -1, dtype=torch.int64)
    for s in segments:
        labels[ids == s["id"]] = s["category_id"] * 1000 + (s["id"] if s["isthing"] else 0)
    return labels


def test_label_divisor_convention(tiny, pairs):
    pytest.importorskip("panopticapi")
    expected = evaluate(PanopticEvaluator(tiny), pairs)
    outputs = [labels_of(output) for _, output in pairs]
    encoded = [
        (image, {"panoptic_seg": (x.clone(), None)})
        for (image, _), x in zip(pairs, outputs, strict=True)
    ]
    ours = evaluate(PanopticEvaluator(tiny), encoded)
    assert ours["panoptic_seg"] == pytest.approx(expected["panoptic_seg"], abs=1e-12)
    assert all(
        torch.equal(x, output["panoptic_seg"][0])
        for x, (_, output) in zip(outputs, encoded, strict=True)
    )
    theirs = evaluate(COCOPanopticEvaluator(tiny), encoded)  # changes the maps, hence last
    assert ours["panoptic_seg"] == pytest.approx(theirs["panoptic_seg"], abs=1e-9)


def test_dataset_categories_are_taken_without_isthing(tiny, pairs):
    expected = evaluate(PanopticEvaluator(tiny), pairs)
    dataset_ids = [11, 13, 20, 40]
    for _, output in pairs:
        for s in output["panoptic_seg"][1]:
            del s["isthing"]
            s["category_id"] = dataset_ids[s["category_id"]]
    assert evaluate(PanopticEvaluator(tiny), pairs) == expected


def test_table_in_the_log(tiny, pairs, caplog):
    with caplog.at_level(logging.INFO, logger="d2seg"):
        evaluate(PanopticEvaluator(tiny), pairs)
    assert "Panoptic Evaluation Results" in caplog.text
    assert "#categories" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pairs: pairs.pop(), "1 of 4 annotated images have no prediction, e.g. image 3"),
        (lambda pairs: pairs.append(pairs[0]), "5 predictions for 4 images"),
        (lambda pairs: pairs[0][0].update(image_id=77), "image 77 .*has no annotation"),
        (lambda pairs: pairs[1][1].pop("panoptic_seg"), "gives no 'panoptic_seg'.*TEST.TASKS"),
        (
            lambda pairs: pairs[1][1]["panoptic_seg"][1][0].update(category_id=2),
            "image 1: .*thing segment of class 2",
        ),
        (
            lambda pairs: pairs[1][1].update(
                panoptic_seg=(torch.ones(8, 6, dtype=torch.int32), [{"id": 1, "category_id": 11}])
            ),
            r"image 1: .*\(8, 6\).*\(6, 8\)",
        ),
    ],
)
def test_mistakes_are_named(tiny, pairs, change, message):
    change(pairs)
    with pytest.raises(ValueError, match=message):
        evaluate(PanopticEvaluator(tiny), pairs)


def test_missing_files_are_named(tiny, tmp_path):
    (tmp_path / "gt").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"panoptic_root .*gt does not exist"):
        PanopticEvaluator(tiny)
    (tmp_path / "gt.json").write_text(json.dumps({"images": [], "categories": []}))
    with pytest.raises(ValueError, match="holds no annotations"):
        PanopticEvaluator(tiny)
    (tmp_path / "gt.json").unlink()
    with pytest.raises(ValueError, match=r"panoptic_json .*gt\.json does not exist"):
        PanopticEvaluator(tiny)


def coco_ground_truth(name: str) -> list[tuple[dict, dict]]:
    """Inputs, and the ground truth in the form of a model's output."""
    pairs = []
    for record in DatasetCatalog.get(name):
        ids = torch.from_numpy(read_id_map(record["pan_seg_file_name"]).astype(np.int32))
        keys = ("id", "category_id", "isthing")
        segments = [{key: s[key] for key in keys} for s in record["segments_info"]]
        pairs.append((record, {"panoptic_seg": (ids, segments)}))
    return pairs


@pytest.mark.parametrize("split", ["val", "train"])
def test_coco_ground_truth_scores_100(shared_dir, split):
    name = register_coco(shared_dir, split)
    result = evaluate(PanopticEvaluator(name), coco_ground_truth(name))["panoptic_seg"]
    assert result == pytest.approx(dict.fromkeys(METRICS, 100.0))
