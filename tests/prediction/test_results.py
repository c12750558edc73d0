"""A result drawn, and in the formats of other programs; small cases worked out by hand."""

import sys
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.data import Metadata
from detectron2.structures import Boxes, Instances
from PIL import Image

from d2seg.prediction.all_tasks import answer_of
from d2seg.prediction.inputs import Picture
from d2seg.prediction.results import Prediction

METADATA = Metadata(
    thing_classes=["cat", "dog"],
    stuff_classes=["cat", "dog", "sky-other-merged"],
    thing_colors=[(255, 0, 0), (0, 255, 0)],
    stuff_colors=[(255, 0, 0), (0, 255, 0), (0, 0, 255)],
    thing_dataset_id_to_contiguous_id={17: 0, 18: 1},
    stuff_dataset_id_to_contiguous_id={17: 0, 18: 1, 187: 2},
)
SIZE = (40, 60)
LEFT = torch.zeros(SIZE, dtype=torch.bool)
LEFT[10:30, :20] = True


def prediction(task: str, output: dict, confidence: float | None = None) -> Prediction:
    picture = Picture(np.full((*SIZE, 3), 100, np.uint8))
    return Prediction(
        output, picture=picture, task=task, metadata=METADATA, confidence_threshold=confidence
    )


def instances() -> Prediction:
    found = Instances(SIZE)
    found.pred_masks = torch.stack([LEFT, ~LEFT])
    found.pred_boxes = Boxes(torch.tensor([[0.0, 10, 20, 30], [0, 0, 60, 40]]))
    found.scores, found.pred_classes = torch.tensor([0.75, 0.25]), torch.tensor([1, 0])
    return prediction("instance", {"instances": found})


def panoptic() -> Prediction:
    info = [
        {"id": 5, "isthing": True, "category_id": 1, "score": 0.75},
        {"id": 2, "isthing": False, "category_id": 2},
    ]
    return prediction("panoptic", {"panoptic_seg": (torch.where(LEFT, 5, 2), info)})


def semantic(confidence: float | None = None) -> Prediction:
    scores = torch.stack([torch.zeros(SIZE), LEFT * 3.0, torch.ones(SIZE)])  # of LEFT 3/4 and 1/4
    return prediction("semantic", {"sem_seg": scores}, confidence)


def referring() -> Prediction:
    found = Instances(SIZE, pred_masks=torch.stack([LEFT, LEFT & ~LEFT]))
    found.scores, found.expressions = torch.tensor([0.75, 0.5]), ["the dog", "a bird"]
    return prediction("referring", {"referring": found})


def mask_of(record: dict) -> np.ndarray:
    return mask_util.decode(record["segmentation"]).astype(bool)


@pytest.mark.parametrize(
    ("result", "category", "score"),
    [(instances(), 18, 0.75), (panoptic(), 18, 0.75), (semantic(), 18, None)],
    ids=["instance", "panoptic", "semantic"],
)
def test_records_of_coco(result: Prediction, category: int, score: float | None) -> None:
    records = result.to_coco(image_id=139)
    assert len(records) == 2
    (record,) = (r for r in records if r["category_id"] == category)
    assert record["image_id"] == 139
    assert record["bbox"] == [0, 10, 20, 20]
    assert record.get("score") == score
    assert np.array_equal(mask_of(record), LEFT.numpy())
    (other,) = (r for r in records if r is not record)
    assert other["category_id"] in (17, 187)
    assert np.array_equal(mask_of(other), ~LEFT.numpy())


def test_expressions_that_are_found_have_records() -> None:
    (record,) = referring().to_coco()
    assert (record["expression"], record["score"]) == ("the dog", 0.75)
    assert "category_id" not in record


def test_boxes_without_masks() -> None:
    found = Instances(SIZE, pred_boxes=Boxes(torch.tensor([[1.0, 2, 11, 22]])))
    found.scores, found.pred_classes = torch.tensor([0.5]), torch.tensor([0])
    result = prediction("instance", {"instances": found})
    box = {"image_id": 0, "bbox": [1, 2, 10, 20], "category_id": 17, "score": 0.5}
    assert result.to_coco() == [box]


def test_labels_need_the_threshold_and_the_task() -> None:
    assert semantic().labels().unique().tolist() == [1, 2]
    assert (semantic(0.8).labels() == torch.where(LEFT, -1, 2)).all()
    with pytest.raises(ValueError, match="labels\\(\\) is for the task semantic; this is panoptic"):
        panoptic().labels()


@pytest.mark.parametrize("result", [instances(), panoptic(), semantic(), referring()])
def test_drawing(result: Prediction, tmp_path: Path) -> None:
    drawn = result.draw(tmp_path / "a.png", scale=2)
    assert drawn.size == (120, 80)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), np.asarray(drawn))
    inside = np.asarray(drawn).astype(int)[25:30, 6:10].reshape(-1, 3)
    assert np.abs(inside - 100).max() > 20  # painted


def test_doubtful_instances_are_not_drawn_unless_asked_for() -> None:
    corner = (slice(0, 8), slice(100, 118))  # only of the instance that scores 0.25
    by_default, all_of_them = (
        np.asarray(instances().draw(scale=2, confidence=c)).astype(int)[corner] for c in (None, 0.1)
    )
    assert np.abs(by_default - 100).max() <= 2
    assert np.abs(all_of_them - 100).max() > 20


def test_a_drawing_needs_a_place(tmp_path: Path) -> None:
    for path in (tmp_path / "a.jpg", tmp_path / "absent" / "a.png"):
        with pytest.raises(ValueError, match="writes PNG files into folders that exist"):
            panoptic().draw(path)


def test_a_missing_extra_names_its_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ModuleNotFoundError, match="pip install supervision"):
        panoptic().to_supervision()


def test_detections_of_supervision() -> None:
    pytest.importorskip("supervision")
    found = panoptic().to_supervision()
    assert found.xyxy.tolist() == [[0, 10, 20, 30], [0, 0, 60, 40]]
    assert np.array_equal(found.mask[0], LEFT.numpy())
    assert found.confidence is None  # stuff has no score
    assert found.data["class_name"].tolist() == ["dog", "sky"]
    found = instances().to_supervision()
    assert found.class_id.tolist() == [1, 0]
    assert found.confidence.tolist() == [0.75, 0.25]
    nothing = Instances(SIZE, pred_masks=torch.zeros(0, *SIZE), scores=torch.zeros(0))
    assert len(prediction("instance", {"instances": nothing}).to_supervision()) == 0


def test_answers_as_plain_values() -> None:
    answer = answer_of(panoptic())
    sky, dog = answer["segments"]
    assert (sky["name"], sky["color"], sky["score"]) == ("sky", [0, 0, 255], None)
    assert (dog["name"], dog["color"], dog["score"]) == ("dog", [0, 255, 0], 0.75)
    assert (dog["area"], dog["bbox"], dog["category_id"]) == (400, [0, 10, 20, 20], 18)
    assert np.array_equal(mask_of(dog), LEFT.numpy())
    assert [one["score"] for one in answer_of(instances())["segments"]] == [0.75, 0.25]
    answer = answer_of(referring())
    assert [one["expression"] for one in answer["segments"]] == ["the dog"]
    assert answer["not_found"] == ["a bird"]
