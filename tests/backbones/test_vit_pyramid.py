"""The simple feature pyramid on a plain ViT with patches of any size."""

import pytest
import timm
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone

from d2seg import add_d2seg_config
from d2seg.backbones.vit_pyramid import StrideSixteenViT, ViTPyramidBackbone
from d2seg.checkpoint.conversion import place_backbone

NAME = "vit_small_patch14_dinov2"


def small_vit(**changes: object) -> StrideSixteenViT:
    torch.manual_seed(0)
    arguments = {"name": NAME, "img_size": (56, 56), "depth": 2, "out_features": ("block2",)}
    return StrideSixteenViT(**(arguments | changes))


def test_pyramid_has_the_four_stages_and_trains_every_parameter() -> None:
    backbone = ViTPyramidBackbone(small_vit(), out_channels=32)
    features = backbone(torch.randn(1, 3, 64, 96))
    shapes = backbone.output_shape()
    assert {name: shape.stride for name, shape in shapes.items()} == {
        "res2": 4,
        "res3": 8,
        "res4": 16,
        "res5": 32,
    }
    for name, feature in features.items():
        stride = shapes[name].stride
        assert feature.shape == (1, shapes[name].channels, 64 // stride, 96 // stride)
    assert backbone.size_divisibility == 32
    sum(feature.square().sum() for feature in features.values()).backward()
    assert not [name for name, p in backbone.named_parameters() if p.grad is None]


def test_tokens_are_those_of_timm_on_the_resized_image() -> None:
    vit = small_vit().eval()
    reference = timm.create_model(NAME, img_size=(56, 56), depth=2, num_classes=0).eval()
    state = vit.model.state_dict()
    missing, unexpected = reference.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith("norm.") for name in missing)
    image = torch.randn(1, 3, 64, 64)
    resized = torch.nn.functional.interpolate(image, size=(56, 56), mode="bilinear")
    with torch.no_grad():
        (expected,) = reference.forward_intermediates(
            resized, indices=[1], norm=False, intermediates_only=True
        )
        torch.testing.assert_close(vit(image)["block2"], expected, atol=1e-5, rtol=1e-5)


def test_patches_of_sixteen_are_taken_as_they_are() -> None:
    vit = small_vit(name="vit_tiny_patch16_224", img_size=(64, 64)).eval()
    image = torch.randn(1, 3, 64, 64)
    expected = super(StrideSixteenViT, vit).forward(image)["block2"]
    torch.testing.assert_close(vit(image)["block2"], expected)


def test_pretrained_names_find_their_place() -> None:
    backbone = ViTPyramidBackbone(small_vit())
    original = dict(backbone.net.model.state_dict())
    names = {f"backbone.{name}" for name in backbone.state_dict()}
    placed = place_backbone(original, original, names)
    assert set(placed) == {f"backbone.net.model.{name}" for name in original}
    assert set(placed) <= names


def test_one_output_is_taken() -> None:
    with pytest.raises(ValueError, match=r"OUT_FEATURES is \['block1', 'block2'\]; the simple"):
        ViTPyramidBackbone(small_vit(out_features=("block1", "block2")))


def test_builder() -> None:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_vit_pyramid_backbone"
    cfg.MODEL.VIT.NAME = NAME
    cfg.MODEL.VIT.IMG_SIZE = (518, 518)
    cfg.MODEL.VIT.OUT_FEATURES = ["block1"]
    cfg.MODEL.FPN.OUT_CHANNELS = 64
    backbone = build_backbone(cfg)
    assert backbone.net.model.pos_embed.shape == (1, 1 + 37**2, 384)
    assert backbone.output_shape()["res2"].channels == 64
