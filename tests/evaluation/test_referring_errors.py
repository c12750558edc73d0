"""What the referring evaluator refuses, in one line each."""

import json
from collections.abc import Callable

import pytest

from d2seg.evaluation import ReferringEvaluator
from d2seg.evaluation.semantic import MissingGroundTruthError
from evaluation.evaluation_cases import register, unregister
from evaluation.referring_cases import (
    FIRST,
    MASKS,
    NAME,
    dicts,
    entries,
    output,
    picture,
    predicted,
    scored,
)


@pytest.fixture(autouse=True)
def clean_catalog():
    yield
    unregister(NAME)


def changed(change: Callable[[list[dict]], object]) -> list[dict]:
    records = dicts()
    change(records)
    return records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: r[1]["expressions"][0].update(id=1),
            "expression 1 of b.png has the id of .*a.p",
        ),
        (
            lambda r: r[0]["expressions"][0].update(segmentation=None),
            r"annotations \[101\].*no mask",
        ),
        (lambda r: r[1].update(width=9), r"a mask of \(6, 8\) .*, the picture is \(6, 9\)"),
    ],
)
def test_faulty_ground_truth_is_named_before_the_evaluation(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        ReferringEvaluator(register(NAME, changed(change)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("records", [[], [{"file_name": "a"}], [picture("a", FIRST, [])]])
def test_a_data_set_without_expressions_is_named(records):
    with pytest.raises(MissingGroundTruthError, match=f"{NAME} .*'referring'.*TEST.TASKS"):
        ReferringEvaluator(register(NAME, records))


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((entries(1), {"sem_seg": 0}), r"gives no 'referring' but \['sem_seg'\].*TEST.TASKS"),
        ((entries(1, 2), output([MASKS[1]])), "gives 1 masks for 2 expressions"),
        ((entries(9), output([MASKS[1]])), f"{NAME} has no expression 9"),
        ((entries(1), output([MASKS[6]])), r"a.png is \(10, 12\) .* are \(6, 8\): .* own size"),
    ],
)
def test_predictions_that_do_not_fit_are_named(pair, message):
    evaluator = ReferringEvaluator(register(NAME, dicts()))
    with pytest.raises(ValueError, match=message) as caught:
        scored(evaluator, [pair])
    assert "\n" not in str(caught.value)


def test_expressions_without_prediction_are_counted_and_what_there_is_is_saved(tmp_path):
    evaluator = ReferringEvaluator(register(NAME, dicts()), str(tmp_path))
    with pytest.raises(ValueError, match=r"2 of 6 expressions have no prediction.*expression 2 of"):
        scored(evaluator, [predicted(1), predicted(4, 5, 6)])
    assert len(json.loads((tmp_path / "referring_predictions.json").read_text())) == 4
