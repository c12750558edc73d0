"""The predictor: what it feeds to a model, and the confidence threshold."""

from pathlib import Path

import detectron2.data.transforms as T
import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from d2seg.config.loading import load_config
from d2seg.prediction.building import build_predictor, set_confidence_threshold
from d2seg.prediction.predictor import Predictor
from d2seg.prediction.selection import label_map, select_confident
from families.color_listener import color_config, color_picture, color_thirds
from families.maskformer_config import small_config


class Recorder(nn.Module):
    """Keeps its input and answers with a score map of its size."""

    def forward(self, batch: list[dict]) -> list[dict]:
        (self.example,) = batch
        self.had_gradients = torch.is_grad_enabled()
        return [{"sem_seg": torch.zeros(2, self.example["height"], self.example["width"])}]


@pytest.mark.parametrize("image_format", ["RGB", "BGR"])
@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_the_model_gets_the_resized_image_in_its_order_of_channels(image_format, order):
    model = Recorder()
    resize = T.ResizeShortestEdge(20, 1000)
    predictor = Predictor(model=model, task="semantic", resize=resize, image_format=image_format)
    image = np.full((40, 60, 3), (1, 2, 3), np.uint8)
    given = {"channel_order": "RGB"} if order == "RGB" else {}  # BGR is the default
    image = image if order == "RGB" else image[:, :, ::-1]
    result = predictor(image, **given)
    assert result["sem_seg"].shape == (2, 40, 60)
    assert result.labels().shape == (40, 60)
    tensor = model.example["image"]
    assert tensor.shape == (3, 20, 30)
    assert tensor[:, 0, 0].tolist() == ([1, 2, 3] if image_format == "RGB" else [3, 2, 1])
    assert (model.example["height"], model.example["width"]) == (40, 60)
    assert not model.had_gradients


def found(scores: list[float]) -> Instances:
    number = len(scores)
    return Instances(
        (4, 4),
        pred_boxes=Boxes(torch.zeros(number, 4)),
        scores=torch.tensor(scores),
        pred_classes=torch.arange(number),
    )


def test_detections_below_the_threshold_are_dropped():
    output = {"instances": found([0.9, 0.5, 0.49])}
    kept = select_confident(output, "instance", 0.5)["instances"]
    assert kept.pred_classes.tolist() == [0, 1]
    assert len(select_confident(output, "instance", None)["instances"]) == 3
    assert len(select_confident(output, "instance", 0.95)["instances"]) == 0


def test_segments_below_the_threshold_are_dropped():
    info = [
        {"id": 1, "isthing": True, "category_id": 0, "score": 0.4},
        {"id": 2, "isthing": True, "category_id": 0, "score": 0.8},
        {"id": 3, "isthing": False, "category_id": 1},  # Panoptic FPN scores no stuff
    ]
    output = {"panoptic_seg": (torch.zeros(4, 4, dtype=torch.int32), info)}
    for threshold, ids in ((None, [1, 2, 3]), (0.5, [2, 3]), (0.9, [3])):
        _, kept = select_confident(output, "panoptic", threshold)["panoptic_seg"]
        assert [segment["id"] for segment in kept] == ids


def test_proposals_count_as_instances():
    proposals = Instances((4, 4), proposal_boxes=Boxes(torch.zeros(2, 4)))
    proposals.objectness_logits = torch.tensor([2.0, -2.0])
    kept = select_confident({"proposals": proposals}, "instance", 0.5)["instances"]
    assert kept.scores.tolist() == pytest.approx([1 / (1 + np.exp(-2))])
    assert kept.has("pred_boxes")


def test_labels_of_logits_and_their_probability():
    # softmax of (log 3, 0) is (0.75, 0.25)
    logits = torch.tensor([np.log(3.0), -1.0, 5.0, 5.0]).view(1, 1, 4)
    scores = torch.cat([logits, torch.tensor([0.0, 1.0, 5.0, -5.0]).view(1, 1, 4)])
    assert label_map(scores).tolist() == [[0, 1, 0, 0]]
    assert label_map(scores, 0.7).tolist() == [[0, 1, -1, 0]]
    assert label_map(scores, 0.76).tolist() == [[-1, 1, -1, 0]]


def test_labels_of_scores_and_their_share():
    # MaskFormer's scores are positive and need not sum to one
    scores = torch.tensor([[[0.3, 0.02, 0.0]], [[0.1, 0.08, 0.0]]])
    assert label_map(scores).tolist() == [[0, 1, 0]]
    assert label_map(scores, 0.74).tolist() == [[0, 1, -1]]
    assert label_map(scores, 0.76).tolist() == [[-1, 1, -1]]


def test_labels_stay_labels_and_take_no_threshold():
    labels = torch.tensor([[3, 0, 200]], dtype=torch.int32)
    assert label_map(labels).tolist() == [[3, 0, 200]]
    assert label_map(labels).dtype == torch.int64
    with pytest.raises(ValueError, match="a confidence threshold needs class scores"):
        label_map(labels, 0.5)


def test_labels_of_a_tall_map_equal_the_whole_at_once():
    scores = torch.randn(5, 600, 7, generator=torch.Generator().manual_seed(0))
    probability, labels = scores.softmax(0).max(0)
    expected = torch.where(probability >= 0.4, labels, -1)
    assert torch.equal(label_map(scores, 0.4), expected)
    assert torch.equal(label_map(scores), labels)


def test_the_threshold_reaches_every_kind_of_model():
    cfg = load_config(None)
    set_confidence_threshold(cfg, 0.37)
    assert cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.37
    assert cfg.MODEL.RETINANET.SCORE_THRESH_TEST == 0.37
    assert cfg.MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH == 0.37
    assert cfg.MODEL.MASK_CLASSIFICATION.TEST.OBJECT_MASK_THRESHOLD == 0.37
    assert cfg.MODEL.MASK_CLASSIFICATION.TEST.SCORE_THRESHOLD == 0.37


@pytest.fixture(scope="module")
def maskformer(repo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> CfgNode:
    """A small panoptic MaskFormer with random weights in a file."""
    cfg = small_config(repo_dir, "coco_panoptic_resnet50")
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.MODEL.DEVICE = "cpu"
    torch.manual_seed(0)
    model = build_model(cfg)
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save({"model": model.state_dict()}, path)
    cfg.MODEL.WEIGHTS = str(path)
    return cfg


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (50, 70, 3), np.uint8)


def test_a_panoptic_threshold_decides_what_maskformer_gives(maskformer, image):
    given = {}
    for threshold in (0.0, 0.99):
        predictor = build_predictor(maskformer, "panoptic", threshold)
        assert predictor.model.inference_settings.object_mask_threshold == threshold
        panoptic_seg, info = predictor(image)["panoptic_seg"]
        assert panoptic_seg.shape == (50, 70)
        given[threshold] = len(info)
    assert given[0.0] > 0
    assert given[0.99] == 0


def test_without_a_threshold_the_config_decides(maskformer):
    settings = build_predictor(maskformer, "panoptic").model.inference_settings
    expected = maskformer.MODEL.MASK_CLASSIFICATION.TEST.OBJECT_MASK_THRESHOLD
    assert settings.object_mask_threshold == expected


def test_a_picture_is_resized_as_in_evaluation(maskformer, image):
    cfg = maskformer.clone()
    predictor = build_predictor(cfg, "panoptic")
    assert predictor.resize.get_transform(image).apply_image(image).shape == (64, 90, 3)
    cfg.INPUT.AUGMENTATION, cfg.INPUT.FIXED_SIZE = "fixed_size", (32, 48)
    predictor = build_predictor(cfg, "panoptic")
    assert predictor.resize.get_transform(image).apply_image(image).shape == (32, 48, 3)


def test_only_the_task_is_computed_and_the_config_is_left_alone(maskformer, image):
    cfg = maskformer.clone()
    cfg.TEST.TASKS = ["panoptic", "semantic", "instance"]
    cfg.freeze()
    predictor = build_predictor(cfg, "semantic", 0.2)
    assert predictor.model.inference_settings.tasks == ("semantic",)
    labels = predictor(image).labels()
    assert labels.shape == (50, 70)
    assert labels.max() < cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    assert cfg.TEST.TASKS == ["panoptic", "semantic", "instance"]
    assert not predictor.model.training


def test_weights_must_be_there_and_complete(maskformer, tmp_path):
    cfg = maskformer.clone()
    cfg.MODEL.WEIGHTS = ""
    with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS"):
        build_predictor(cfg, "panoptic")
    cfg.MODEL.WEIGHTS = str(tmp_path / "absent.pth")
    with pytest.raises(ValueError, match=r"absent\.pth"):
        build_predictor(cfg, "panoptic")
    state = torch.load(maskformer.MODEL.WEIGHTS)["model"]
    half = {name: value for name, value in state.items() if name.startswith("backbone.")}
    cfg.MODEL.WEIGHTS = str(tmp_path / "backbone.pth")
    torch.save({"model": half}, cfg.MODEL.WEIGHTS)
    with pytest.raises(ValueError, match=r"backbone\.pth"):
        build_predictor(cfg, "panoptic")


def referring(scores: list[float]) -> Instances:
    masks = torch.ones(len(scores), 4, 4, dtype=torch.bool)
    texts = [str(i) for i in range(len(scores))]
    return Instances((4, 4), pred_masks=masks, scores=torch.tensor(scores), expressions=texts)


def test_masks_of_expressions_below_the_threshold_become_empty():
    output = {"referring": referring([0.9, 0.5, 0.49])}
    for threshold, found in ((None, [1, 1, 1]), (0.5, [1, 1, 0]), (0.95, [0, 0, 0])):
        kept = select_confident(output, "referring", threshold)["referring"]
        assert kept.pred_masks.sum((1, 2)).tolist() == [16 * f for f in found]
        assert kept.scores.tolist() == pytest.approx([0.9, 0.5, 0.49])
        assert kept.expressions == ["0", "1", "2"]
    assert output["referring"].pred_masks.all()


def test_expressions_reach_the_model_and_come_back_as_masks(tmp_path):
    predictor = build_predictor(color_config(tmp_path), "referring")
    texts = ("the green one", "the red one", "the blue one", "red or green")
    found = predictor(color_picture(), channel_order="RGB", expressions=texts)["referring"]
    (sample,) = predictor.model.batch
    assert sample["image"].shape == (3, 30, 36)  # INPUT.REFERRING_SIZE, not the aspect ratio
    assert sample["expressions"] == list(texts)
    assert found.expressions == list(texts)
    thirds = color_thirds()
    both = thirds["red"] | thirds["green"]
    for mask, expected in zip(
        found.pred_masks.numpy(),
        (thirds["green"], thirds["red"], np.zeros_like(both), both),
        strict=True,
    ):
        assert (mask != expected).mean() < 0.05  # at the borders, which are resized
    assert found.pred_masks[2].sum() == 0


def test_other_tasks_see_no_expressions():
    model = Recorder()
    resize = T.ResizeShortestEdge(20, 1000)
    predictor = Predictor(model=model, task="semantic", resize=resize, image_format="RGB")
    predictor(np.zeros((40, 60, 3), np.uint8))
    assert "expressions" not in model.example
    with pytest.raises(ValueError, match="'a dog' is for the task referring; the task semantic"):
        predictor(np.zeros((40, 60, 3), np.uint8), expressions=["a dog"])


def test_a_model_with_limited_words_is_asked_before_pictures_are_read(tmp_path):
    predictor = build_predictor(color_config(tmp_path), "referring")
    predictor.check_expressions(["a red dog"])
    with pytest.raises(ValueError, match="no word of 'ein Hund' is known"):
        predictor.check_expressions(["a red dog", "ein Hund"])
    with pytest.raises(ValueError, match="needs an expression"):
        predictor.check_expressions([])
    assert not predictor.model.batch
