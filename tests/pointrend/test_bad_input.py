"""PointRend where there is nothing, or nothing sensible, to predict."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from d2seg.layers.chunking import budget
from d2seg.pointrend import mask_head as mask_head_module
from d2seg.pointrend.mask_head import PointMaskHead
from families.point_rend_reference import (
    NUM_CLASSES,
    example,
    our_config,
    our_semantic_config,
    semantic_example,
)

HEADS = ("PointRendInstanceHead", "ImplicitPointRendInstanceHead")
ODD_BOXES = [
    [10.0, 10.0, 10.0, 40.0],  # without area
    [20.0, 20.0, 20.0, 20.0],
    [300.0, 300.0, 340.0, 350.0],  # outside of the image
    [-40.0, -30.0, -5.0, -2.0],
    [-20.0, -20.0, 150.0, 120.0],  # beyond it
    [50.0, 60.0, 30.0, 20.0],  # the corners swapped
]


@pytest.fixture(scope="module", params=HEADS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return build_model(our_config(request.param))


def mask_head(model: nn.Module) -> PointMaskHead:
    return model.roi_heads.mask_head


def detections(boxes: list[list[float]]) -> Instances:
    instances = Instances((96, 128))
    instances.pred_boxes = Boxes(torch.tensor(boxes).view(-1, 4))
    instances.pred_classes = torch.arange(len(boxes)) % NUM_CLASSES
    return instances


def features(model: nn.Module, num_images: int = 1) -> dict[str, Tensor]:
    return model.eval().backbone(torch.randn(num_images, 3, 96, 128))


def test_no_detection_among_others(model: nn.Module) -> None:
    maps = features(model, num_images=2)
    with torch.no_grad():
        none, some = mask_head(model)(maps, [detections([]), detections([[8.0, 8.0, 40.0, 50.0]])])
    assert none.pred_masks.shape == (0, 1, 224, 224)
    assert some.pred_masks.shape == (1, 1, 224, 224)


def test_no_detection_at_all(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.roi_heads.box_predictor, "test_score_thresh", 1.1)
    with torch.no_grad():
        [result] = model.eval()([example(96, 128, [])])
    assert result["instances"].pred_masks.shape == (0, 96, 128)


def test_boxes_without_area_and_outside(model: nn.Module) -> None:
    with torch.no_grad():
        [result] = mask_head(model)(features(model), [detections(ODD_BOXES)])
    assert result.pred_masks.shape == (len(ODD_BOXES), 1, 224, 224)
    assert torch.isfinite(result.pred_masks).all()


def test_chunks_change_nothing(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = features(model)
    boxes = [[4.0 * i, 3.0 * i, 50.0 + 4 * i, 40.0 + 3 * i] for i in range(7)]
    with torch.no_grad():
        [whole] = mask_head(model)(maps, [detections(boxes)])
        monkeypatch.setattr(mask_head_module, "REGIONS_AT_ONCE", budget(1))
        [by_one] = mask_head(model)(maps, [detections(boxes)])
    torch.testing.assert_close(by_one.pred_masks, whole.pred_masks, atol=1e-5, rtol=0)


@pytest.mark.parametrize("labels", [[], [2]], ids=["no object", "object at the border"])
def test_training_on_odd_targets(model: nn.Module, labels: list[int]) -> None:
    batch = [example(64, 64, labels), example(64, 96, [], seed=1)]
    if labels:
        mask = torch.zeros(1, 64, 64, dtype=torch.bool)
        mask[:, 50:, 60:] = True
        batch[0]["instances"].gt_masks = BitMasks(mask)
        batch[0]["instances"].gt_boxes = BitMasks(mask).get_bounding_boxes()
    model.train().zero_grad()
    with EventStorage():
        losses = model(batch)
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert (losses["loss_mask_point"] > 0) == bool(labels)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("num_points", [1, 100_000])
def test_more_points_than_pixels_and_fewer(head: str, num_points: int) -> None:
    cfg = our_config(head)
    cfg.MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS = num_points
    cfg.MODEL.POINT_HEAD.SUBDIVISION_STEPS = 2
    model = build_model(cfg)
    with torch.no_grad():
        [result] = mask_head(model)(features(model), [detections([[8.0, 8.0, 40.0, 50.0]])])
    assert result.pred_masks.shape[-1] == mask_head(model).mask_size
    assert torch.isfinite(result.pred_masks).all()


@pytest.mark.parametrize("head", HEADS)
def test_point_head_without_hidden_layers(head: str) -> None:
    cfg = our_config(head)
    cfg.MODEL.POINT_HEAD.NUM_FC = 0
    model = build_model(cfg)
    with torch.no_grad():
        [result] = mask_head(model)(features(model), [detections([[8.0, 8.0, 40.0, 50.0]])])
    assert torch.isfinite(result.pred_masks).all()


def test_semantic_with_more_points_than_pixels() -> None:
    cfg = our_semantic_config("SemSegFPNHead")
    cfg.MODEL.POINT_HEAD.TRAIN_NUM_POINTS = 5000
    cfg.MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS = 1_000_000
    model = build_model(cfg)
    assert model.train()([semantic_example(32, 32)])["loss_sem_seg_point"] > 0
    with torch.no_grad():
        [result] = model.eval()([semantic_example(8, 16)])
    assert result["sem_seg"].shape == (NUM_CLASSES, 8, 16)


def test_semantic_without_a_valid_label() -> None:
    model = build_model(our_semantic_config("SemSegFPNHead"))
    image = semantic_example(32, 32)
    image["sem_seg"] = torch.full_like(image["sem_seg"], 255)
    assert model.train()([image])["loss_sem_seg_point"] == 0


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.ROI_MASK_HEAD.POOLER_TYPE", "ROIAlignV2", "POOLER_TYPE .* set it to ''"),
        ("INPUT.MASK_FORMAT", "polygon", "MASK_FORMAT .* set it to 'bitmask'"),
        ("MODEL.POINT_HEAD.IN_FEATURES", ["p1"], r"POINT_HEAD.IN_FEATURES asks for \['p1'\]"),
        ("MODEL.POINTREND.COARSE_IN_FEATURES", ["p9"], r"COARSE_IN_FEATURES asks for \['p9'\]"),
        (
            "MODEL.POINT_HEAD.OVERSAMPLE_RATIO",
            0.5,
            r"OVERSAMPLE_RATIO and .* at least 1 .* got 0\.5",
        ),
    ],
)
def test_wrong_keys_of_the_instance_head(key: str, value: object, message: str) -> None:
    cfg = our_config()
    cfg.merge_from_list([key, value])
    with pytest.raises(ValueError, match=message):
        build_model(cfg)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.SEM_SEG_HEAD.NAME", "PerPixelBaselineHead", "has no coarse logits"),
        ("MODEL.POINT_HEAD.IN_FEATURES", ["res9"], r"IN_FEATURES asks for \['res9'\]"),
        ("MODEL.POINT_HEAD.IN_FEATURES", [], "IN_FEATURES asks for nothing"),
        ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 1, "needs two classes"),
        (
            "MODEL.POINT_HEAD.IMPORTANCE_SAMPLE_RATIO",
            1.5,
            r"IMPORTANCE_SAMPLE_RATIO: .* in \[0, 1\]",
        ),
    ],
)
def test_wrong_keys_of_the_semantic_model(key: str, value: object, message: str) -> None:
    cfg = our_semantic_config("SemSegFPNHead")
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.merge_from_list([key, value])
    with pytest.raises(ValueError, match=message):
        build_model(cfg)


def test_polygons_as_ground_truth(model: nn.Module) -> None:
    batch = [example(64, 64, [1])]
    square = [torch.tensor([10.0, 10, 40, 10, 40, 40, 10, 40]).numpy()]
    batch[0]["instances"].gt_masks = PolygonMasks([square])
    with EventStorage(), pytest.raises(ValueError, match=r"set INPUT\.MASK_FORMAT to bitmask"):
        model.train()(batch)
