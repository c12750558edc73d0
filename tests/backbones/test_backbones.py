"""Backbones behind detectron2's interface, and against timm with the same weights."""

import pytest
import timm
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_backbone

from d2seg import add_d2seg_config
from d2seg.backbones.swin import SwinBackbone
from d2seg.backbones.timm import TimmBackbone

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


def config(name: str, **keys: object) -> CfgNode:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.PIXEL_MEAN = [0.0] * 3
    for key, value in keys.items():
        cfg.merge_from_list([key.replace("__", "."), value])
    return cfg


@pytest.mark.parametrize("size", [(64, 96), (67, 45)])
def test_swin_gives_four_stages_of_ceiled_size(size: tuple[int, int]) -> None:
    cfg = config(
        "build_swin_backbone",
        MODEL__SWIN__EMBED_DIM=24,
        MODEL__SWIN__DEPTHS=[2, 2, 2, 2],
        MODEL__SWIN__NUM_HEADS=[2, 2, 4, 4],
    )
    backbone = build_backbone(cfg).eval()
    features = backbone(torch.randn(2, 3, *size))
    shapes = backbone.output_shape()
    assert list(features) == list(STRIDES)
    height, width = (-(-side // 4) for side in size)
    for i, (name, feature) in enumerate(features.items()):
        assert shapes[name].channels == 24 * 2**i
        assert shapes[name].stride == STRIDES[name]
        assert feature.shape == (2, 24 * 2**i, height, width)
        height, width = -(-height // 2), -(-width // 2)


def test_swin_equals_timm() -> None:
    """timm's Swin with the same weights: an implementation of other hands.

    At 448 pixels, because timm drops the shift where one window covers the map, which the
    segmentation models never do.
    """
    reference = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=448, features_only=True, out_indices=(0, 1, 2, 3)
    ).eval()
    backbone = SwinBackbone(drop_path_rate=0.0).eval()
    state = {}
    for key, value in reference.state_dict().items():
        key = key.replace("layers_", "layers.")
        stage = int(key.split(".")[1]) if key.startswith("layers.") else -1
        if "downsample" in key:  # timm puts the merging at the start of a stage
            key = key.replace(f"layers.{stage}.", f"layers.{stage - 1}.")
        state[key] = value
    missing, unexpected = backbone.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.startswith("norm") or "relative_position_index" in key for key in missing)
    images = torch.randn(1, 3, 448, 448)
    with torch.no_grad():
        expected, actual = reference(images), backbone(images)
        for i, (feature, ours) in enumerate(zip(expected, actual.values(), strict=True)):
            feature = getattr(backbone, f"norm{i}")(feature).permute(0, 3, 1, 2)
            torch.testing.assert_close(ours, feature, atol=1e-4, rtol=1e-4)


def test_swin_subset_of_stages() -> None:
    backbone = SwinBackbone(
        embed_dim=24, depths=(1, 1, 1, 1), num_heads=(2, 2, 2, 2), out_features=("res3", "res5")
    )
    assert list(backbone(torch.randn(1, 3, 64, 64))) == ["res3", "res5"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out_features": ("p0",)}, r"OUT_FEATURES is \['p0'\]; choose from \['res2', "),
        ({"out_features": ()}, r"OUT_FEATURES is \[\]"),
        ({"depths": (2, 2, 6)}, r"DEPTHS is \[2, 2, 6\]; give a number for each of 4 stages"),
        ({"num_heads": (3, 6, 12)}, r"NUM_HEADS is \[3, 6, 12\]"),
        ({"num_heads": (3, 5, 12, 24)}, "EMBED_DIM 96 gives stage 2 192 .* its NUM_HEADS, 5"),
    ],
)
def test_swin_errors_name_the_key(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=rf"MODEL\.SWIN\.{message}"):
        SwinBackbone(**changes)


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "swin_s3_tiny_224"])
def test_timm_models_give_the_named_stages(name: str) -> None:
    backbone = build_backbone(config("build_timm_backbone", MODEL__TIMM__NAME=name)).eval()
    size = 224 if "224" in name else 64
    features = backbone(torch.randn(1, 3, size, size))
    for key, feature in features.items():
        shape = backbone.output_shape()[key]
        assert feature.shape == (1, shape.channels, size // STRIDES[key], size // STRIDES[key])


def test_timm_ends_after_the_last_stage_asked_for() -> None:
    """What is computed for nothing would have parameters without gradient."""
    backbone = TimmBackbone(name="resnet18", out_features=("res4", "res2"))
    features = backbone(torch.randn(1, 3, 64, 64))
    assert {name: feature.shape[1] for name, feature in features.items()} == {
        "res2": 64,
        "res4": 256,
    }
    sum(feature.sum() for feature in features.values()).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@pytest.mark.parametrize(
    "name", ["vgg11", "mobilenetv3_small_050", "regnetx_002", "efficientnet_b0"]
)
def test_more_timm_families(name: str) -> None:
    backbone = TimmBackbone(name=name).eval()
    for key, feature in backbone(torch.randn(1, 3, 64, 64)).items():
        assert feature.shape[1] == backbone.output_shape()[key].channels
        assert feature.shape[2] == 64 // STRIDES[key]


def test_timm_reuses_the_model_weights() -> None:
    torch.manual_seed(0)
    backbone = TimmBackbone(name="resnet18").eval()
    reference = timm.create_model("resnet18", features_only=True, out_indices=(1, 2, 3, 4)).eval()
    reference.load_state_dict(backbone.model.state_dict())
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(backbone(images)["res5"], reference(images)[-1])


def test_timm_errors_name_key_and_remedy() -> None:
    with pytest.raises(ValueError, match=r"MODEL\.TIMM\.NAME: timm has no model 'resnet_18'"):
        TimmBackbone(name="resnet_18")
    with pytest.raises(ValueError, match=r"MODEL\.TIMM\.OUT_FEATURES: 'resnet18' has features"):
        TimmBackbone(name="resnet18", out_features=("res2", "res7"))
    with pytest.raises(ValueError, match=r"MODEL\.TIMM\.OUT_FEATURES: .*, none for \[\]"):
        TimmBackbone(name="resnet18", out_features=())


def test_deeplab_stem_of_r101c_builds() -> None:
    cfg = config("build_resnet_deeplab_backbone", MODEL__RESNETS__OUT_FEATURES=["res2", "res5"])
    cfg.MODEL.RESNETS.STEM_TYPE = "deeplab"
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = 128
    backbone = build_backbone(cfg)
    assert backbone.stem.conv3.weight.shape == (128, 64, 3, 3)
