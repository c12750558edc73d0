"""One model in memory for all of its tasks."""

from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.modeling import build_model

import d2seg
from d2seg.config.description import describe
from d2seg.prediction import all_tasks
from d2seg.prediction.all_tasks import AllTasks
from d2seg.prediction.loading import Opened, open_weights
from families import segformer_config
from families.maskformer_config import small_config

TASKS = ("panoptic", "semantic", "instance")
PICTURE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)


@pytest.fixture(scope="module")
def weights(repo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cfg = small_config(repo_dir, "coco_panoptic_resnet50")
    cfg.INPUT.MIN_SIZE_TEST, cfg.MODEL.WEIGHTS = 64, ""
    cfg.DATASETS.TEST = ("coco_2017_val_panoptic",)  # whose names are those of the classes
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 133
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("all_tasks") / "a.pth"
    torch.save({"model": build_model(cfg).state_dict(), "d2seg": describe(cfg)}, path)
    return path


@pytest.fixture(scope="module")
def model(weights: Path) -> AllTasks:
    return AllTasks(open_weights(weights, device="cpu"))


@pytest.mark.parametrize("task", TASKS)
def test_each_task_as_a_predictor_of_its_own(model: AllTasks, weights: Path, task: str) -> None:
    assert model.tasks == TASKS
    asked, calls = model._network, []
    handle = asked.register_forward_hook(lambda *call: calls.append(call[2][0].keys()))
    ours = model.predict(PICTURE, task, None if task == "panoptic" else 0.001)
    handle.remove()
    (keys,) = calls
    assert len(keys) == 1  # nothing is computed for the tasks beside it
    theirs = d2seg.load(weights, task, "cpu")(PICTURE, channel_order="RGB")
    if task == "panoptic":
        assert torch.equal(ours["panoptic_seg"][0], theirs["panoptic_seg"][0])
        assert ours["panoptic_seg"][1] == theirs["panoptic_seg"][1]
    elif task == "semantic":
        assert torch.equal(ours["sem_seg"], theirs["sem_seg"])
    else:
        scores = theirs["instances"].scores
        assert torch.equal(ours["instances"].scores, scores[scores >= 0.001])
        assert torch.equal(
            ours["instances"].pred_masks, theirs["instances"].pred_masks[scores >= 0.001]
        )


def test_semantic_labels_unless_a_confidence_needs_scores(model: AllTasks) -> None:
    labels = model.predict(PICTURE, "semantic")
    assert labels["sem_seg"].shape == (60, 90)
    with_scores = model.predict(PICTURE, "semantic", 0.0)
    assert with_scores["sem_seg"].dim() == 3
    assert torch.equal(labels.labels(), with_scores.labels())
    assert (model.predict(PICTURE, "semantic", 1.0).labels() == -1).all()
    assert model.predict(PICTURE, "semantic")["sem_seg"].dim() == 2  # nothing is left behind


def test_scores_that_take_too_much_memory(model: AllTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(all_tasks, "MAX_SCORES", 133 * 60 * 90 - 1)
    with pytest.raises(ValueError, match=r"scores of 133 classes at 90x60 pixels.* at most 5399 "):
        model.predict(PICTURE, "semantic", 0.5)
    model.predict(PICTURE, "semantic")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("referring", None, ["a dog"]), "task is 'referring'; this model offers panoptic, "),
        (("instance", 2.0, []), "confidence is 2.0; it lies between 0 and 1"),
        (("instance", None, ["a dog"]), "expression 'a dog' is for the task referring"),
    ],
)
def test_what_cannot_be_asked(model: AllTasks, arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.check(*arguments)


def test_tiles_see_all_tasks(weights: Path, model: AllTasks) -> None:
    opened = open_weights(weights, device="cpu")
    opened.cfg.TEST.TILES.ENABLED, opened.cfg.TEST.TILES.SIZE = True, 64
    opened.cfg.TEST.TILES.OVERLAP = 16
    tiled = AllTasks(opened)
    for task in TASKS:
        answer = tiled.answer(PICTURE, task, 0.0)
        assert all(one["segmentation"]["size"] == [60, 90] for one in answer["segments"])
    assert tiled.predict(PICTURE, "semantic")["sem_seg"].dim() == 2
    assert tiled.predict(PICTURE, "semantic", 0.0)["sem_seg"].dim() == 3


def test_a_config_with_weights(weights: Path, model: AllTasks) -> None:
    cfg = open_weights(weights, device="cpu").cfg
    again = AllTasks(Opened(cfg, None, None))
    assert again.answer(PICTURE, "instance", 0.0) == model.answer(PICTURE, "instance", 0.0)


def test_answers(model: AllTasks) -> None:
    for task in TASKS:
        answer = model.answer(PICTURE, task, 0.0)
        assert answer["not_found"] == []
        for one in answer["segments"]:
            assert mask_util.decode(one["segmentation"]).sum() == one["area"] > 0
            assert all(0 <= value <= 255 for value in one["color"])
            assert one["category_id"] >= 1  # COCO's own
        if task == "instance":
            scores = [one["score"] for one in answer["segments"]]
            assert scores
            assert scores == sorted(scores, reverse=True)
    about = model.describe()
    assert (about["method"], about["weights"], about["device"]) == ("MaskFormer", "a.pth", "cpu")
    assert about["classes"][:2] == ["person", "bicycle"]


def test_other_than_three_channels(repo_dir: Path, tmp_path: Path) -> None:
    cfg = segformer_config.small_config(repo_dir)
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [100.0], [50.0]
    cfg.INPUT.FORMAT, cfg.INPUT.MIN_SIZE_TEST, cfg.MODEL.DEVICE = "L", 64, "cpu"
    cfg.MODEL.WEIGHTS = str(tmp_path / "grey.pth")
    torch.save({"model": build_model(cfg).state_dict()}, cfg.MODEL.WEIGHTS)
    grey = AllTasks(Opened(cfg, None, None))
    assert grey.predict(PICTURE, "semantic")["sem_seg"].shape == (60, 90)
    assert grey.predict(PICTURE, "semantic", 0.0)["sem_seg"].dim() == 3
    cfg.INPUT.READER = "bands"
    with pytest.raises(
        ValueError, match=r"INPUT\.READER is bands; .* 1 band of a file .*d2seg draw"
    ):
        AllTasks(Opened(cfg, None, None))
