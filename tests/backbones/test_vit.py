"""The plain ViT against timm with equal weights, and on rectangles against a slow reference."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone
from torch import Tensor

from d2seg import add_d2seg_config
from d2seg.backbones.vit import ViTBackbone

TINY = {"name": "vit_tiny_patch16_224", "depth": 3, "img_size": (64, 64)}


def small_vit(**changes: Any) -> ViTBackbone:
    torch.manual_seed(0)
    backbone = ViTBackbone(**(TINY | {"out_features": ("block1", "block3")} | changes)).eval()
    for name, parameter in backbone.named_parameters():
        if "pos_embed" in name or "token" in name:  # initially almost zero
            torch.nn.init.normal_(parameter)
    return backbone


@pytest.mark.parametrize(
    ("name", "img_size"),
    [
        ("vit_tiny_patch16_224", (64, 96)),
        ("deit_tiny_patch16_224", (32, 32)),
        ("vit_small_patch14_reg4_dinov2", (56, 42)),  # registers, and positions for patches alone
        ("vit_base_patch32_clip_224", (64, 64)),  # a norm before the blocks
    ],
)
@torch.no_grad()
def test_blocks_equal_timms(name: str, img_size: tuple[int, int]) -> None:
    ours = small_vit(name=name, img_size=img_size, depth=2, out_features=("block2", "block1"))
    reference = timm.create_model(name, img_size=img_size, depth=2, num_classes=0).eval()
    missing, _ = reference.load_state_dict(ours.model.state_dict(), strict=False)
    assert {n.split(".")[0] for n in missing} <= {"norm", "fc_norm"}
    images = torch.randn(2, 3, *img_size)
    expected = reference.forward_intermediates(
        images, indices=[0, 1], norm=False, intermediates_only=True
    )
    features = ours(images)
    assert list(features) == ["block1", "block2"]
    for feature, theirs in zip(features.values(), expected, strict=True):
        torch.testing.assert_close(feature, theirs, atol=1e-5, rtol=1e-5)


def bilinear(table: Tensor, height: int, width: int) -> Tensor:
    """(h, w, C) at another size, pixel by pixel; centres of the corner cells are not aligned."""
    rows, columns, _ = table.shape
    result = torch.zeros(height, width, table.shape[-1])
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * rows / height - 0.5, 0), rows - 1)
            u = min(max((x + 0.5) * columns / width - 0.5, 0), columns - 1)
            top, left = int(v), int(u)
            for row, of_row in ((top, 1 - (v - top)), (min(top + 1, rows - 1), v - top)):
                for column, of_column in (
                    (left, 1 - (u - left)),
                    (min(left + 1, columns - 1), u - left),
                ):
                    result[y, x] += of_row * of_column * table[row, column]
    return result


@pytest.mark.parametrize("class_token", [True, False])
@pytest.mark.parametrize("size", [(48, 112), (128, 16), (64, 64)])
@torch.no_grad()
def test_rectangles_equal_a_slow_reference(size: tuple[int, int], class_token: bool) -> None:
    backbone = small_vit(class_token=class_token)
    model = backbone.model
    images = torch.randn(1, 3, *size)
    height, width = size[0] // 16, size[1] // 16
    slots = int(class_token)
    assert model.pos_embed.shape == (1, slots + 16, 192)
    table = bilinear(model.pos_embed[0, slots:].view(4, 4, -1), height, width)
    tokens = [model.cls_token[0, 0] + model.pos_embed[0, 0]] if class_token else []
    weight, bias = model.patch_embed.proj.weight, model.patch_embed.proj.bias
    for y in range(height):
        for x in range(width):
            patch = images[0, :, 16 * y : 16 * y + 16, 16 * x : 16 * x + 16]
            tokens.append((weight * patch).sum((1, 2, 3)) + bias + table[y, x])
    hidden = torch.stack(tokens)[None]
    for block in model.blocks:
        hidden = block(hidden)
    expected = hidden[0, slots:].view(height, width, -1).permute(2, 0, 1)
    torch.testing.assert_close(backbone(images)["block3"][0], expected, atol=1e-4, rtol=1e-4)


def test_norms_have_the_eps_of_the_paper() -> None:
    norms = [m for m in small_vit().modules() if isinstance(m, torch.nn.LayerNorm)]
    assert len(norms) == 6
    assert {norm.eps for norm in norms} == {1e-6}


def test_nothing_without_a_gradient() -> None:
    for class_token in (True, False):
        backbone = small_vit(out_features=("block2",), class_token=class_token).train()
        backbone(torch.randn(1, 3, 64, 64))["block2"].square().sum().backward()
        assert all(p.grad is not None for p in backbone.parameters())
        assert len(backbone.model.blocks) == 2


def test_checkpointing_changes_no_gradient() -> None:
    plain, saving = small_vit().train(), small_vit(use_checkpoint=True).train()
    images = torch.randn(2, 3, 64, 64)
    for backbone in (plain, saving):
        sum(f.square().sum() for f in backbone(images).values()).backward()
    for ours, theirs in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_patch_size_of_ones_own() -> None:
    backbone = small_vit(patch_size=8)
    assert backbone.size_divisibility == 8
    assert backbone.output_shape()["block3"].stride == 8
    assert backbone(torch.randn(1, 3, 64, 40))["block3"].shape == (1, 192, 8, 5)


def test_builder_reads_every_key() -> None:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_vit_backbone"
    cfg.MODEL.VIT.merge_from_other_cfg(
        type(cfg)(
            {
                "NAME": "vit_tiny_patch16_224",
                "IMG_SIZE": (32, 48),
                "PATCH_SIZE": 8,
                "DEPTH": 3,
                "CLASS_TOKEN": False,
                "DROP_PATH_RATE": 0.2,
                "USE_CHECKPOINT": True,
                "OUT_FEATURES": ["block2", "block3"],
            }
        )
    )
    backbone = build_backbone(cfg)
    assert backbone.model.patch_embed.grid_size == (4, 6)
    assert backbone.model.cls_token is None
    assert backbone.use_checkpoint
    assert backbone.model.blocks[-1].drop_path1.drop_prob == pytest.approx(0.2)
    assert list(backbone.output_shape()) == ["block2", "block3"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "vit_tiny"}, r"MODEL\.VIT\.NAME: timm has no model 'vit_tiny'"),
        ({"name": "resnet18"}, r"MODEL\.VIT\.NAME: timm's 'resnet18' is no plain ViT"),
        ({"name": "eva02_tiny_patch14_224", "img_size": (56, 56)}, "is no plain ViT"),
        ({"img_size": (64, 50)}, r"MODEL\.VIT\.IMG_SIZE is \(64, 50\); .* multiples of .* 16"),
        ({"out_features": ("block4",)}, r"OUT_FEATURES has 'block4'; .* block1 to block3"),
        ({"out_features": ("res2",)}, r"OUT_FEATURES has 'res2'"),
        ({"out_features": ()}, r"OUT_FEATURES is empty"),
    ],
)
def test_errors_name_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViTBackbone(**(TINY | {"out_features": ("block1",)} | changes))


def test_an_image_that_is_no_multiple_of_the_patch() -> None:
    with pytest.raises(ValueError, match="64 x 50 are no multiple of the patch size 16"):
        small_vit()(torch.randn(1, 3, 64, 50))


def test_timms_weights_are_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """``pretrained`` reaches timm, and its weights survive the leaving out of tokens."""
    create: Callable = timm.create_model

    def fetch(name: str, *, pretrained: bool, **arguments: Any) -> torch.nn.Module:
        assert pretrained
        model = create(name, **arguments)
        with torch.no_grad():
            model.pos_embed.copy_(torch.arange(17).view(1, 17, 1).expand(-1, -1, 192))
        return model

    monkeypatch.setattr(timm, "create_model", fetch)
    model = ViTBackbone(**TINY, out_features=("block3",), pretrained=True, class_token=False).model
    assert model.pos_embed[0, :, 0].tolist() == list(range(1, 17))
