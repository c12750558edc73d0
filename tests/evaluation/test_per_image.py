"""Dice, IoU, precision and recall over images, worked out by hand and against plain numpy."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from PIL import Image

from d2seg.config.loading import load_config
from d2seg.data.label_values import parse_label_values
from d2seg.evaluation import BoundaryEvaluator, PerImageEvaluator, SemanticEvaluator
from d2seg.evaluation.build import build_evaluator
from d2seg.evaluation.per_image import (
    PerImageBoundaryEvaluator,
    foreground_of,
    mask_metrics,
    mean_of,
)
from evaluation.evaluation_cases import (
    SEMANTIC_NAME,
    evaluate,
    make_semantic,
    semantic_output,
    unregister,
)
from families.processes import run_in_two_processes

IGNORE = 255
METRICS = ("Dice", "IoU", "precision", "recall")


@pytest.fixture(autouse=True)
def clean_catalog():
    yield
    unregister(SEMANTIC_NAME)


def binary_set(folder, labels: list[np.ndarray]) -> str:
    name = make_semantic(folder, labels, 2, IGNORE)
    MetadataCatalog.get(name).stuff_classes[:] = ["background", "polyp"]
    return name


def pairs(predictions: list[np.ndarray], num_classes: int = 2) -> list[tuple[dict, dict]]:
    return [
        ({"file_name": f"{i}.jpg"}, semantic_output(prediction, num_classes))
        for i, prediction in enumerate(predictions)
    ]


def row(*labels: int) -> np.ndarray:
    return np.array([labels], np.uint8)


def rows(file) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_two_images_by_hand(tmp_path):
    # of the polyp: 1 of 1 + 1 extra + 0 missed; then 2 right, 0 extra, 2 missed
    name = binary_set(tmp_path, [row(1, 0, 0, 0), row(1, 1, 1, 1)])
    results = evaluate(
        PerImageEvaluator(name, str(tmp_path / "out")),
        pairs([row(1, 1, 0, 0), row(1, 1, 0, 0)]),
    )
    images, pooled = results["per_image"], results["pooled"]
    assert images["mDice"] == images["Dice-polyp"] == pytest.approx(100 * (2 / 3 + 4 / 6) / 2)
    assert images["mIoU"] == images["IoU-polyp"] == pytest.approx(100 * (1 / 2 + 2 / 4) / 2)
    assert images["precision"] == images["precision-polyp"] == pytest.approx(100 * (1 / 2 + 1) / 2)
    assert images["recall"] == images["recall-polyp"] == pytest.approx(100 * (1 + 2 / 4) / 2)
    # the background of the first: 2 right, 1 missed; of the second: predicted, but not there
    assert images["Dice-background"] == pytest.approx(100 * (4 / 5 + 0) / 2)
    assert images["recall-background"] == pytest.approx(100 * (2 / 3 + 0) / 2)
    # 3 right, 1 extra, 2 missed in all
    assert pooled["mDice"] == pooled["Dice-polyp"] == pytest.approx(100 * 6 / 9)
    assert pooled["mIoU"] == pytest.approx(100 * 3 / 6)
    assert pooled["precision"] == pytest.approx(100 * 3 / 4)
    assert pooled["recall"] == pytest.approx(100 * 3 / 5)
    # what the semantic evaluator gives stays: over both classes
    assert results["sem_seg"]["mIoU"] == pytest.approx(100 * (3 / 6 + 2 / 5) / 2)


def test_empty_cases(tmp_path):
    labels = [row(0, 0, 0), row(0, 0, 0), row(1, 1, 0), row(1, 0, 0), row(IGNORE, IGNORE, 0)]
    predictions = [row(0, 0, 0), row(0, 1, 0), row(0, 0, 0), row(1, 0, 0), row(1, 1, 0)]
    name = binary_set(tmp_path, labels)
    results = evaluate(PerImageEvaluator(name, str(tmp_path / "out")), pairs(predictions))
    # image 0 and, as the prediction lies on ignored pixels, 4: in neither, left out; 1: in the
    # prediction alone, 0; 2: in the truth alone, 0; 3: right
    for metric in ("mDice", "mIoU", "precision", "recall"):
        assert results["per_image"][metric] == pytest.approx(100 / 3), metric
    listed = rows(tmp_path / "out/per_image.csv")
    # equal ones by the number of wrong pixels
    assert [r["file"] for r in listed] == ["2.jpg", "1.jpg", "3.jpg"]
    assert [float(r["recall"]) for r in listed] == [0, 0, 1]
    assert listed[1] == {
        "file": "1.jpg", "class": "polyp",
        "Dice": "0.000000", "IoU": "0.000000", "precision": "0.000000", "recall": "0.000000",
        "true_positives": "0", "false_positives": "1", "false_negatives": "0",
    }  # fmt: skip


def test_a_name_whose_bytes_are_no_text_ends_no_evaluation(tmp_path):
    evaluator = PerImageEvaluator(binary_set(tmp_path, [row(0, 1)]), str(tmp_path / "out"))
    evaluate(evaluator, pairs([row(0, 1)]))
    evaluator._counts = {"a\udce9.jpg": evaluator._counts["0.jpg"]}
    evaluator.evaluate()
    assert [r["file"] for r in rows(tmp_path / "out/per_image.csv")] == [r"a\udce9.jpg"]


def test_a_class_that_never_appears_has_no_part_in_the_mean(tmp_path):
    name = make_semantic(tmp_path, [row(0, 1, 1)], 4, IGNORE)
    names = ["Background", "cup", "disc", "vessel"]
    MetadataCatalog.get(name).stuff_classes[:] = names
    results = evaluate(PerImageEvaluator(name), pairs([row(0, 1, 2)], 4))["per_image"]
    assert results["Dice-cup"] == pytest.approx(100 * 2 / 3)
    assert results["Dice-disc"] == 0
    assert np.isnan(results["Dice-vessel"])
    assert results["mDice"] == pytest.approx(100 * (2 / 3 + 0) / 2)


def test_nothing_at_all_is_nan(tmp_path):
    name = binary_set(tmp_path, [row(0, 0)])
    results = evaluate(PerImageEvaluator(name), pairs([row(0, 0)]))
    assert np.isnan(results["per_image"]["mDice"])
    assert np.isnan(results["pooled"]["mIoU"])
    assert results["per_image"]["Dice-background"] == 100


def reference(labels: list[np.ndarray], predictions: list[np.ndarray], k: int) -> dict:
    """The metrics of class ``k`` by their definitions, with masks."""
    found = []
    for truth, prediction in zip(labels, predictions, strict=True):
        a, b = (truth == k), (prediction == k) & (truth != IGNORE)
        if not (a | b).any():
            continue
        both = (a & b).sum()
        found.append(
            [
                2 * both / (a.sum() + b.sum()),
                both / (a | b).sum(),
                both / b.sum() if b.any() else 0.0,
                both / a.sum() if a.any() else 0.0,
            ]
        )
    return dict(zip(METRICS, 100 * np.mean(found, axis=0), strict=True))


def random_case(num_images: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 4, (5, 6 + i % 3)).astype(np.uint8) for i in range(num_images)]
    predictions = [rng.integers(0, 3, x.shape).astype(np.uint8) for x in labels]
    for i, x in enumerate(labels):
        x[x == 3] = IGNORE
        x[x == 2] = 2 if i % 2 else 0  # class 2 is in every other image
        predictions[i][predictions[i] == 2] = 2 if i % 4 < 2 else 0
    return labels, predictions


def test_equal_to_the_definitions(tmp_path):
    labels, predictions = random_case(9)
    name = make_semantic(tmp_path, labels, 3, IGNORE)
    results = evaluate(PerImageEvaluator(name), pairs(predictions, 3))
    for k in range(3):
        for metric, value in reference(labels, predictions, k).items():
            assert results["per_image"][f"{metric}-class {k}"] == pytest.approx(value)
        flat = [np.concatenate([x.ravel() for x in part]) for part in (labels, predictions)]
        for metric, value in reference([flat[0]], [flat[1]], k).items():
            assert results["pooled"][f"{metric}-class {k}"] == pytest.approx(value)
    means = [results["per_image"][f"Dice-class {k}"] for k in range(3)]
    assert results["per_image"]["mDice"] == pytest.approx(np.mean(means))


def evaluate_share(folder: str, shares: list[list[int]]) -> dict | None:
    labels, predictions = random_case(5)
    own = Path(folder, f"{comm.get_world_size()}_{comm.get_rank()}")
    own.mkdir()
    name = make_semantic(own, labels, 3, IGNORE)
    all_pairs = pairs(predictions, 3)
    share = [all_pairs[i] for i in shares[comm.get_rank()]]
    return evaluate(PerImageEvaluator(name, str(own)), share)


def test_two_processes_are_the_same_as_one_and_count_no_image_twice(tmp_path):
    one = evaluate_share(str(tmp_path), [[0, 1, 2, 3, 4]])
    # 5 images make 6: the padding of a sampler repeats one
    two, other = run_in_two_processes(evaluate_share, str(tmp_path), [[0, 2, 4], [1, 3, 0]])
    assert other is None
    for group in ("per_image", "pooled"):
        assert two[group] == pytest.approx(dict(one[group]), nan_ok=True)
    assert rows(tmp_path / "1_0/per_image.csv") == rows(tmp_path / "2_0/per_image.csv")


def test_masks_of_0_and_255_are_scored_as_they_are(tmp_path):
    name = make_semantic(tmp_path, [255 * row(0, 1, 1)], 2, IGNORE)
    values = parse_label_values(
        {0: "class 0", 255: "class 1"}, ["class 0", "class 1"], ignore_label=IGNORE
    )
    MetadataCatalog.get(name).set(label_values=values)
    results = evaluate(PerImageEvaluator(name), pairs([row(0, 0, 1)]))
    assert results["per_image"]["Dice-class 1"] == pytest.approx(100 * 2 / 3)
    Image.fromarray(254 * row(0, 1, 1)).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match=r"0\.png: label values .* 254 \(2 times\)"):
        evaluate(PerImageEvaluator(name), pairs([row(0, 0, 1)]))


def test_a_prediction_of_another_size_is_refused(tmp_path):
    name = binary_set(tmp_path, [row(0, 1)])
    with pytest.raises(ValueError, match=r"the label image is \(1, 2\)"):
        evaluate(PerImageEvaluator(name), pairs([row(0, 1, 1)]))


def test_labels_and_scores_are_the_same(tmp_path):
    name = binary_set(tmp_path, [row(0, 1, 1)])
    labels = [({"file_name": "0.jpg"}, {"sem_seg": torch.tensor([[0, 0, 1]])})]
    of_labels = evaluate(PerImageEvaluator(name), labels)
    of_scores = evaluate(PerImageEvaluator(name), pairs([row(0, 0, 1)]))
    assert of_labels["per_image"] == of_scores["per_image"]


def test_the_config_chooses_it_also_with_the_band(tmp_path):
    name = binary_set(tmp_path, [row(0, 0, 1, 1)])
    cfg = load_config(None, ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "2"])
    assert type(build_evaluator(cfg, name, None, ["semantic"])) is SemanticEvaluator
    cfg.TEST.PER_IMAGE_METRICS = True
    assert type(build_evaluator(cfg, name, None, ["semantic"])) is PerImageEvaluator
    cfg.TEST.BOUNDARY_WIDTH = 1
    both = build_evaluator(cfg, name, None, ["semantic"])
    assert type(both) is PerImageBoundaryEvaluator
    case = pairs([row(0, 1, 1, 1)])
    results = evaluate(both, case)
    assert results["per_image"] == evaluate(PerImageEvaluator(name), case)["per_image"]
    band = evaluate(BoundaryEvaluator(name, width=1), case)["sem_seg"]
    assert dict(results["sem_seg"]) == dict(band)
    cfg.TEST.BOUNDARY_WIDTH = 0
    MetadataCatalog.get(name).set(evaluator_type="volumes")
    with pytest.raises(ValueError, match=r"TEST\.PER_IMAGE_METRICS is True.* set it to False"):
        build_evaluator(cfg, name, None, ["semantic"])


def test_helpers():
    assert foreground_of(["background", "a", "b"]) == [1, 2]
    assert foreground_of(["road", "Background"]) == [0]
    assert foreground_of(["background"]) == [0]
    assert mask_metrics(np.array([[3, 1, 2]])).tolist() == [[6 / 9, 3 / 6, 3 / 4, 3 / 5]]
    means = mean_of(np.array([[1.0, np.nan], [np.nan, np.nan]]))
    assert means[0] == 1
    assert np.isnan(means[1])
    assert np.isnan(mean_of(np.zeros((0, 2)))).all()
