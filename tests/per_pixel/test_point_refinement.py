"""One switch puts the point head behind any per-pixel method.

What it computes is held to detectron2's PointRend in tests/pointrend.
"""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from d2seg.acceleration import prepare_for_inference
from d2seg.config.loading import load_config
from d2seg.layers.point_head import PointHead
from d2seg.layers.point_sample import semantic_uncertainty
from d2seg.per_pixel.point_refinement import PointRefinement, labels_at, uncertainty_map

# method -> features to sample; logits of SETR and TransUNet have stride 1 anyway
METHODS = {
    "segformer": ["res2"],
    "setr": ["block2", "block4"],
    "transunet": ["stem", "res2"],
    "topformer": ["res2", "res3"],
}


def config(repo_dir: Path, method: str) -> CfgNode:
    cfg = load_config(str(repo_dir / "configs" / method / "shapes_semantic_small.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.POINT_HEAD.ENABLED = True
    cfg.MODEL.POINT_HEAD.IN_FEATURES = METHODS[method]
    cfg.MODEL.POINT_HEAD.FC_DIM = 16
    cfg.MODEL.POINT_HEAD.SUBDIVISION_STEPS = 2
    cfg.MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS = 500
    return cfg


@pytest.fixture(scope="module", params=METHODS)
def model(request: pytest.FixtureRequest, repo_dir: Path) -> nn.Module:
    torch.manual_seed(0)
    return build_model(config(repo_dir, request.param))


def example(height: int, width: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8),
        "sem_seg": torch.randint(0, 13, (height, width), generator=generator),
    }


def test_training_adds_a_loss_at_points(model: nn.Module) -> None:
    model.train().zero_grad()
    losses = model([example(128, 128), example(128, 128)])
    assert losses["loss_sem_seg_point"] > 0
    losses["loss_sem_seg_point"].backward()
    for name, parameter in model.point_refinement.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name
    assert any(p.grad is not None for p in model.backbone.parameters())


def test_inference_changes_uncertain_cells_alone(model: nn.Module) -> None:
    model.eval()
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        coarse = model.decode_head(model.backbone(images))
        refined = model.window_logits(images)
    assert refined.shape[-2:] == (128, 128)
    resized = nn.functional.interpolate(coarse, (128, 128), mode="bilinear", align_corners=False)
    changed = ((refined - resized).abs().amax(1) > 1e-4).sum().item()
    # a cell of the first subdivision spreads to its neighbours in the second
    assert 0 < changed < 128 * 128


def test_a_result_has_the_size_of_the_picture(model: nn.Module) -> None:
    image = example(90, 110) | {"height": 45, "width": 60}
    [result] = model.eval()([image])
    assert result["sem_seg"].shape[-2:] == (45, 60)


@pytest.mark.parametrize(("dtype", "share"), [(torch.bfloat16, 0.96), (torch.float16, 0.99)])
def test_half_precision_weights(repo_dir: Path, dtype: torch.dtype, share: float) -> None:
    """Points are sampled in fp32, whatever the point head is in."""
    torch.manual_seed(0)
    model = build_model(config(repo_dir, "segformer")).eval()
    image = example(128, 128)
    [expected] = model([image])
    [result] = prepare_for_inference(model, dtype)([image])
    labels, expected_labels = (output["sem_seg"].argmax(0) for output in (result, expected))
    assert (labels == expected_labels).float().mean() > share


def test_off_is_the_method_itself(repo_dir: Path) -> None:
    cfg = config(repo_dir, "segformer")
    cfg.MODEL.POINT_HEAD.ENABLED = False
    model = build_model(cfg)
    assert model.point_refinement is None
    assert model.train()([example(128, 128)] * 2).keys() == {"loss_sem_seg"}


def test_missing_feature_is_named(repo_dir: Path) -> None:
    cfg = config(repo_dir, "segformer")
    cfg.MODEL.POINT_HEAD.IN_FEATURES = ["p2"]
    with pytest.raises(ValueError, match=r"MODEL\.POINT_HEAD\.IN_FEATURES asks for \['p2'\]"):
        build_model(cfg)


def refinement(num_subdivisions: int) -> PointRefinement:
    torch.manual_seed(0)
    return PointRefinement(
        point_head=PointHead(
            feature_channels=2,
            num_classes=3,
            hidden_dim=4,
            num_layers=1,
            coarse_at_every_layer=False,
        ),
        in_features=["a"],
        num_train_points=10,
        oversample_ratio=3.0,
        importance_ratio=0.75,
        num_subdivisions=num_subdivisions,
        num_subdivision_points=5,
    )


@pytest.mark.parametrize(
    ("num_subdivisions", "image_side", "side"),
    [(0, 32, 8), (1, 32, 16), (2, 32, 32), (3, 32, 32), (2, 24, 16), (2, 8, 8), (2, 4, 8)],
)
def test_subdivision_ends_at_the_size_of_the_image(
    num_subdivisions: int, image_side: int, side: int
) -> None:
    logits = torch.randn(1, 3, 8, 8)
    before = logits.clone()
    refined = refinement(num_subdivisions)(
        logits, {"a": torch.randn(1, 2, 8, 8)}, (image_side, image_side)
    )
    assert refined.shape == (1, 3, side, side)
    assert torch.equal(logits, before)
    if side == 8:
        assert ((refined != logits).any(1).sum() == 5) == bool(num_subdivisions)


@pytest.mark.parametrize("num_classes", [2, 7])
def test_uncertainty_of_a_map_is_that_of_its_points(num_classes: int) -> None:
    logits = torch.randn(2, num_classes, 5, 6)
    expected = semantic_uncertainty(logits.flatten(2)).unflatten(1, (5, 6))
    assert torch.equal(uncertainty_map(logits), expected)


def test_labels_at_points() -> None:
    labels = torch.arange(6).view(1, 2, 3)
    coords = torch.tensor([[[0.0, 0.0], [0.34, 0.4], [0.99, 0.51], [1.0, 1.0], [0.66, 0.99]]])
    assert labels_at(labels, coords).tolist() == [[0, 1, 5, 5, 4]]
