"""The evaluator of referring segmentation on cases worked out by hand."""

import json
import logging
import math

import numpy as np
import pycocotools.mask as mask_util
import pytest
from detectron2.data import DatasetCatalog
from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm
from torch import nn

from d2seg.evaluation import ReferringEvaluator
from d2seg.evaluation.records import TimedEvaluator
from d2seg.evaluation.report import write_report
from evaluation.evaluation_cases import register, unregister
from evaluation.referring_cases import (
    FIRST,
    LEFT,
    MASKS,
    NAME,
    RIGHT,
    SECOND,
    box,
    dicts,
    entries,
    expression,
    output,
    picture,
    polygon,
    predicted,
    scored,
)
from families.processes import run_in_two_processes

EXPECTED = {
    "oIoU": 100 * (16 + 0 + 10 + 0 + 0 + 12) / (20 + 40 + 40 + 0 + 3 + 12),
    "mIoU": 100 * (16 / 20 + 0 + 10 / 40 + 1) / 4,
    "gIoU": 100 * (16 / 20 + 0 + 10 / 40 + 1 + 1 + 0) / 6,
    "Pr@0.5": 50,
    "Pr@0.6": 50,
    "Pr@0.7": 50,
    "Pr@0.8": 50,  # 16 / 20 is enough
    "Pr@0.9": 25,
    "N-acc": 50,
    "T-acc": 100,
    # of (2, 1), (1, 2), (3, 2), (2, 3) only the first: the mask of 1 is at 1's object, not at 2's
    "listens": 25,
    "listens-both": 0,
    "mIoU-place": 100 * (16 / 20 + 0) / 2,
    "mIoU-size": 100 * 10 / 40,
}


@pytest.fixture(autouse=True)
def clean_catalog():
    yield
    unregister(NAME)


def test_every_figure_by_hand():
    evaluator = ReferringEvaluator(register(NAME, dicts()))
    results = scored(evaluator, [predicted(1, 2, 3)], [predicted(4, 5, 6)])
    assert list(results) == ["referring"]
    assert list(results["referring"]) == list(EXPECTED)
    assert results["referring"] == pytest.approx(EXPECTED)


def test_the_report_shows_expressions_and_no_classes(tmp_path):
    folder = str(tmp_path / "inference" / NAME)
    evaluator = ReferringEvaluator(register(NAME, dicts()), folder, record=True)
    evaluator = TimedEvaluator(evaluator, NAME, folder)
    results = scored(evaluator, [predicted(1, 2, 3)], [predicted(4, 5, 6)])
    (tmp_path / "results.json").write_text(json.dumps(results))
    page = write_report(tmp_path).read_text()
    assert "Expressions by IoU" in page
    assert page.count("<figure") == len(dicts()[0]["expressions"]) + len(dicts()[1]["expressions"])
    assert "another class" not in page
    assert "any class" not in page


def test_batches_orders_and_repetitions_change_nothing():
    evaluator = ReferringEvaluator(register(NAME, dicts()))
    one_batch = [predicted(6, 4, 5), predicted(3, 1, 2)]
    for batches in ([one_batch], [[predicted(n)] for n in (5, 1, 6, 3, 2, 4)]):
        assert scored(evaluator, *batches)["referring"] == pytest.approx(EXPECTED)
    again = entries(5, 6), output([box(SECOND)] * 2)  # as of a sampler that pads
    repeated = [[predicted(1, 2, 3)], [predicted(4, 5, 6)], [again]]
    assert scored(evaluator, *repeated)["referring"] == pytest.approx(EXPECTED)


def evaluate_own_share(folder: str) -> dict | None:
    """In two processes a picture's expressions are apart, and one picture comes twice."""
    batches = {
        (1, 0): [[predicted(1, 2, 3)], [predicted(4, 5, 6)]],
        (2, 0): [[predicted(1, 3)], [predicted(4, 5, 6)]],
        (2, 1): [[predicted(2)], [predicted(4, 5, 6)]],
    }[comm.get_world_size(), comm.get_rank()]
    saved = f"{folder}/saved_{comm.get_world_size()}"
    return scored(ReferringEvaluator(register(NAME, dicts()), saved), *batches)


def test_two_processes_are_the_same_as_one(tmp_path):
    one = evaluate_own_share(str(tmp_path))
    two, other = run_in_two_processes(evaluate_own_share, str(tmp_path))
    assert other is None
    assert two == one
    assert one["referring"] == pytest.approx(EXPECTED)
    first, second = (
        json.loads((tmp_path / f"saved_{n}" / "referring_predictions.json").read_text())
        for n in (1, 2)
    )
    assert first == second


def test_predictions_are_saved_the_worst_first(tmp_path):
    evaluator = ReferringEvaluator(register(NAME, dicts()), str(tmp_path / "out"))
    scored(evaluator, [predicted(1, 2, 3), predicted(4, 5, 6)])
    saved = json.loads((tmp_path / "out" / "referring_predictions.json").read_text())
    assert [(p["expression_id"], p["iou"]) for p in saved] == [
        (2, 0),
        (5, 0),
        (3, 0.25),
        (1, 0.8),
        (4, 1),
        (6, 1),
    ]
    for prediction in saved:
        number = prediction["expression_id"]
        assert prediction["sentence"] == f"expression {number}"
        assert prediction["file_name"] == ("a.png" if number < 4 else "b.png")
        assert prediction["score"] == pytest.approx(number / 10)
        mask = mask_util.decode(prediction["segmentation"]).astype(bool)
        assert np.array_equal(mask, MASKS[number])


def test_without_output_dir_nothing_is_kept_of_the_masks():
    evaluator = ReferringEvaluator(register(NAME, dicts()))
    scored(evaluator, [predicted(1, 2, 3), predicted(4, 5, 6)])
    assert not evaluator._saved


@pytest.mark.parametrize(
    ("masks", "listens", "both"),
    [
        ({1: LEFT, 2: RIGHT, 3: LEFT}, 100, 100),
        ({1: RIGHT, 2: LEFT, 3: RIGHT}, 0, 0),
        # deaf: the same for every expression
        ({1: LEFT, 2: LEFT, 3: LEFT}, 50, 0),
        ({1: (0, 0, 10, 5), 2: (0, 0, 10, 5), 3: (0, 0, 10, 5)}, 0, 0),
        ({1: (0, 0, 0, 0), 2: (0, 0, 0, 0), 3: (0, 0, 0, 0)}, 0, 0),
        # 1 and 2 go well together, 3 stays at the other object
        ({1: LEFT, 2: RIGHT, 3: RIGHT}, 75, 50),
    ],
)
def test_whether_a_model_listens(masks, listens, both):
    evaluator = ReferringEvaluator(register(NAME, dicts()[:1]))
    found = [box(FIRST, masks[n]) for n in (1, 2, 3)]
    results = scored(evaluator, [(entries(1, 2, 3), output(found))])["referring"]
    assert (results["listens"], results["listens-both"]) == (listens, both)


def test_figures_without_cases_are_left_out_or_undefined():
    only = [picture("a.png", FIRST, [expression(1, 101, polygon(*LEFT))])]
    results = scored(ReferringEvaluator(register(NAME, only)), [predicted(1)])["referring"]
    assert results["gIoU"] == results["mIoU"] == results["oIoU"] == pytest.approx(80)
    assert not {"N-acc", "T-acc", "listens", "listens-both"} & set(results)
    nothing = [picture("b.png", SECOND, [expression(4, None, None)])]
    results = scored(ReferringEvaluator(register(NAME, nothing)), [predicted(4)])["referring"]
    assert (results["gIoU"], results["N-acc"]) == (100, 100)
    assert all(math.isnan(results[name]) for name in ("oIoU", "mIoU", "Pr@0.5", "T-acc"))


def test_an_object_without_a_pixel_counts_as_no_target(caplog):
    sliver = [[2.0, 1.0, 2.01, 1.0, 2.01, 1.01]]
    two_points = [[0, 0, 5, 5]]  # pycocotools would take it for a box
    records = [
        picture(
            "b.png",
            SECOND,
            [expression(4, 7, sliver), expression(5, 8, two_points), dicts()[1]["expressions"][2]],
        )
    ]
    evaluator = ReferringEvaluator(register(NAME, records))
    with caplog.at_level(logging.WARNING):
        results = scored(evaluator, [predicted(4, 5, 6)])["referring"]
    assert "the masks of 2 expressions have no pixel" in caplog.text
    assert (results["N-acc"], results["T-acc"], results["mIoU"]) == (50, 100, 100)
    assert "listens" not in results


def test_a_mask_without_annotation_is_scored_and_never_paired():
    first = dicts()[0]["expressions"]
    records = [picture("a.png", FIRST, [first[0], {**first[1], "annotation_id": None}])]
    evaluator = ReferringEvaluator(register(NAME, records))
    results = scored(evaluator, [predicted(1, 2)])["referring"]
    assert results["oIoU"] == pytest.approx(100 * 16 / 60)
    assert "listens" not in results


def test_uncompressed_rle():
    uncompressed = {"size": [6, 8], "counts": [0, 3, 3, 3, 39]}  # column by column: 3 rows of two
    records = [picture("b.png", SECOND, [expression(6, 9, uncompressed)])]
    found = entries(6), output([box(SECOND, (0, 0, 2, 3))])
    results = scored(ReferringEvaluator(register(NAME, records)), [found])["referring"]
    assert results["oIoU"] == 100


class Perfect(nn.Module):
    """Answers with the ground truth, by the expressions' own masks."""

    def forward(self, batch: list[dict]) -> list[dict]:
        outputs = []
        for example in batch:
            size = example["height"], example["width"]
            masks = [
                mask_util.decode(mask_util.merge(mask_util.frPyObjects(e["segmentation"], *size)))
                if isinstance(e["segmentation"], list)
                else mask_util.decode(e["segmentation"])
                for e in example["expressions"]
            ]
            outputs.append(output([mask.astype(bool) for mask in masks]))
        return outputs


@pytest.mark.usefixtures("few_shapes")
def test_shapes_with_perfect_masks_through_the_loop_of_detectron2():
    records = DatasetCatalog.get("shapes_referring_val")
    evaluator = ReferringEvaluator("shapes_referring_val")
    results = inference_on_dataset(Perfect(), [[record] for record in records], evaluator)
    figures = results["referring"]
    assert all(value == 100 for value in figures.values()), figures
    kinds = {e["kind"] for record in records for e in record["expressions"]}
    assert {name for name in figures if name.startswith("mIoU-")} == {f"mIoU-{k}" for k in kinds}
    assert {"listens", "listens-both"} <= set(figures)
