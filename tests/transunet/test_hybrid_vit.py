"""The hybrid of ResNetV2 and ViT, and the pure ViT."""

import pytest
import torch
from torch.nn import functional as F

from d2seg.transunet.hybrid_vit import HybridViT
from d2seg.transunet.resnetv2 import GroupNorm, ResNetV2


def small_cnn() -> ResNetV2:
    return ResNetV2(in_channels=3, depths=(1, 2, 1), width=32)


def small_vit(cnn: ResNetV2 | None, **changes) -> HybridViT:
    torch.manual_seed(0)
    sizes = {"image_size": 64, "embed_dim": 48, "depth": 2, "num_heads": 4} | changes
    return HybridViT(cnn=cnn, **sizes).eval()


@pytest.mark.parametrize("size", [(64, 64), (16, 16), (32, 80)])
@pytest.mark.parametrize("hybrid", [True, False])
def test_shapes_are_as_declared(size: tuple[int, int], hybrid: bool) -> None:
    backbone = small_vit(small_cnn() if hybrid else None)
    features = backbone(torch.randn(2, 3, *size))
    declared = backbone.output_shape()
    assert features.keys() == declared.keys()
    assert set(features) == ({"stem", "res2", "res3", "vit"} if hybrid else {"vit"})
    for name, feature in features.items():
        side = [s // declared[name].stride for s in size]
        assert feature.shape == (2, declared[name].channels, *side)
        assert feature.isfinite().all()


def test_the_published_resnet_has_the_published_sizes() -> None:
    with torch.device("meta"):
        cnn = ResNetV2(in_channels=3, depths=(3, 4, 9), width=64)
    assert cnn.channels == {"stem": 64, "res2": 256, "res3": 512, "res4": 1024}
    assert [len(getattr(cnn, f"block{i}")) for i in (1, 2, 3)] == [3, 4, 9]


def test_only_the_output_of_the_first_stage_is_padded() -> None:
    cnn = small_cnn()
    with torch.no_grad():
        features = cnn(torch.randn(1, 3, 64, 64))
        assert (features["res2"][..., -1, :] == 0).all()
        assert (features["res2"][..., :, -1] == 0).all()
        torch.testing.assert_close(cnn.block2(features["res2"][..., :-1, :-1]), features["res3"])


def test_weights_are_standardised() -> None:
    """Scale and offset of an output channel's weights have no effect."""
    cnn, images = small_cnn(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        weight = cnn.root.conv.weight.normal_()  # of a variance far above the epsilon
        before = cnn.root.conv(images)
        weight.mul_(3).add_(0.7)
        torch.testing.assert_close(cnn.root.conv(images), before, atol=1e-3, rtol=1e-3)


def test_group_norm_of_one_value_gives_the_bias() -> None:
    norm = GroupNorm(4, 4)
    torch.nn.init.normal_(norm.bias)
    torch.testing.assert_close(
        norm(torch.randn(1, 4, 1, 1)).flatten(), norm.bias, atol=1e-4, rtol=0
    )
    features = torch.randn(2, 4, 3, 3)
    expected = F.group_norm(features, 4, norm.weight, norm.bias, norm.eps)
    assert torch.equal(norm(features), expected)


def test_positions_tell_tokens_apart_on_every_grid() -> None:
    backbone = small_vit(None)
    with torch.no_grad():
        backbone.pos_embed.copy_(torch.arange(16.0)[None, :, None].expand(1, 16, 48))
        assert torch.equal(backbone._position((4, 4)), backbone.pos_embed)
        wide = backbone._position((2, 8))[0, :, 0].view(2, 8)
    rows = torch.tensor([2.0, 10.0])[:, None]  # between rows 0 and 1, and 2 and 3
    columns = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    torch.testing.assert_close(wide, rows + columns)


def test_dropout_is_where_it_is_published() -> None:
    rates = {
        name: module.p
        for name, module in small_vit(None, dropout=0.1).named_modules()
        if isinstance(module, torch.nn.Dropout)
    }
    dropping = {name for name, rate in rates.items() if rate > 0}
    mlps = {f"blocks.{i}.mlp.drop{j}" for i in (0, 1) for j in (1, 2)}
    assert dropping == {"pos_drop"} | mlps


def test_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for use_checkpoint in (False, True):
        backbone = small_vit(None, use_checkpoint=use_checkpoint, dropout=0.0).train()
        backbone(torch.ones(1, 3, 64, 64))["vit"].square().sum().backward()
        gradients.append(backbone.pos_embed.grad)
    torch.testing.assert_close(*gradients)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="multiples of 16, not 60x64"):
        small_vit(None)(torch.zeros(1, 3, 60, 64))
    with pytest.raises(ValueError, match="IMAGE_SIZE is 100"):
        small_vit(None, image_size=100)
    with pytest.raises(ValueError, match="EMBED_DIM 48 is no multiple of NUM_HEADS 5"):
        small_vit(None, num_heads=5)
    with pytest.raises(ValueError, match="CNN_WIDTH is 16"):
        ResNetV2(in_channels=3, depths=(1, 1, 1), width=16)
    with pytest.raises(ValueError, match=r"CNN_DEPTHS is \[1, 1\]"):
        ResNetV2(in_channels=3, depths=(1, 1), width=32)
