"""Every evaluator gives the same with two processes as with one."""

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.utils import comm

from d2seg.evaluation import InstanceEvaluator, PanopticEvaluator, SemanticEvaluator
from evaluation.evaluation_cases import (
    INSTANCE_NAME,
    OBJECTS,
    PANOPTIC_NAME,
    SEMANTIC_NAME,
    evaluate,
    instance_output,
    make_instances,
    make_panoptic,
    make_semantic,
    panoptic_input,
    panoptic_output,
    rectangle,
    semantic_output,
    unregister,
)
from families.processes import run_in_two_processes

SHARES = {1: [[0, 1, 2]], 2: [[0, 2], [1]]}  # world size -> images of each rank


def evaluate_own_share(folder: str) -> list[dict | None]:
    world, rank = comm.get_world_size(), comm.get_rank()
    own, saved = Path(folder, f"data_{world}_{rank}"), Path(folder, f"saved_{world}")
    own.mkdir()
    images = SHARES[world][rank]
    return [
        evaluate(
            PanopticEvaluator(make_panoptic(own, 3), str(saved), record=True),
            [(panoptic_input(i), panoptic_output(i)) for i in images],
        ),
        evaluate(
            SemanticEvaluator(
                make_semantic(own, [labels(i) for i in range(3)], 5, 255), str(saved), record=True
            ),
            [({"file_name": f"{i}.jpg"}, semantic_output(labels(i + 3), 5)) for i in images],
        ),
        evaluate(
            InstanceEvaluator(
                make_instances(own, OBJECTS, thing_dataset_id_to_contiguous_id={3: 0, 8: 1}),
                str(saved),
                record=True,
            ),
            [({"image_id": i}, {"instances": objects(i)}) for i in images],
        ),
    ]


def labels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 5, (6, 7)).astype(np.uint8)


def objects(image_id: int):
    """Something in image 1, the only one with ground truth, and nothing in the others."""
    if image_id != 1:
        return instance_output([], [], [])
    return instance_output([rectangle(0, 0, 10, 9), rectangle(0, 20, 8, 10)], [0.9, 0.8], [0, 1])


def test_two_processes_are_the_same_as_one(tmp_path):
    one = evaluate_own_share(str(tmp_path))
    for name in (PANOPTIC_NAME, SEMANTIC_NAME, INSTANCE_NAME):
        unregister(name)
    two, other = run_in_two_processes(evaluate_own_share, str(tmp_path))
    assert other == [None, None, {}]
    for task in range(3):
        assert list(one[task]) == list(two[task])
        for kind, numbers in one[task].items():
            assert two[task][kind] == pytest.approx(numbers, abs=1e-9, nan_ok=True), kind
    assert 0 < one[0]["panoptic_seg"]["PQ"] < 100
    assert 0 < one[1]["sem_seg"]["mIoU"] < 100
    assert 0 < one[2]["segm"]["AP"] < 100

    saved = [tmp_path / f"saved_{world}" for world in (1, 2)]
    first, second = (
        sorted(json.loads(x.joinpath("predictions.json").read_text())["annotations"], key=str)
        for x in saved
    )
    assert first == second
    assert len(list((saved[1] / "predictions").iterdir())) == 3
    for task in ("panoptic", "semantic", "instance"):  # what the report is made of
        records = [json.loads((x / "records" / f"{task}.json").read_text()) for x in saved]
        assert records[0] == records[1]
        assert len(records[0]["gallery"]) == (1 if task == "instance" else 3)
