"""Mix Transformer by itself; its numbers are proven in tests/segformer."""

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec

from d2seg.config import add_d2seg_config
from d2seg.segformer import build_mit_backbone
from d2seg.segformer.mit import EfficientAttention, MixTransformer, to_map, to_tokens

SMALL = {"embed_dims": (8, 16, 20, 32), "depths": (1, 1, 2, 1)}


def test_outputs_are_as_declared() -> None:
    model = MixTransformer(**SMALL, out_features=["res4", "res2"]).eval()
    with torch.no_grad():
        outputs = model(torch.randn(2, 3, 64, 96))
    shapes = model.output_shape()
    assert list(outputs) == list(shapes) == ["res2", "res4"]
    for name, spec in shapes.items():
        expected = (2, spec.channels, 64 // spec.stride, 96 // spec.stride)
        assert outputs[name].shape == expected


@pytest.mark.parametrize("batch_size", [1, 2])
def test_maps_are_channels_last_without_a_copy(batch_size: int) -> None:
    """torch must see it in a batch of one, too: otherwise convolutions copy whole maps."""
    tokens = torch.randn(batch_size, 6 * 5, 8)
    feature = to_map(tokens, (6, 5))
    assert feature.shape == (batch_size, 8, 6, 5)
    assert feature.data_ptr() == tokens.data_ptr()
    output = torch.nn.Conv2d(8, 8, 3, padding=1, groups=8)(feature)
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(to_tokens(feature), tokens)
    assert to_tokens(feature).data_ptr() == tokens.data_ptr()


def test_attention_against_its_formula() -> None:
    """softmax(q k^T / sqrt(d)) v per head, with keys and values of 2 x 2 patches."""
    torch.manual_seed(0)
    attention = EfficientAttention(8, num_heads=2, reduction=2)
    tokens = torch.randn(1, 24, 8)
    patches = attention.reduction(tokens.mT.reshape(1, 8, 4, 6)).flatten(2).mT
    key, value = attention.key_value(attention.reduction_norm(patches)).split(8, -1)
    query = attention.query(tokens)
    heads = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = (query[..., head] @ key[..., head].mT / 2).softmax(-1)
        heads.append(weights @ value[..., head])
    expected = attention.output(torch.cat(heads, -1))
    torch.testing.assert_close(attention(tokens, (4, 6)), expected)


def test_drop_path_grows_from_zero() -> None:
    model = MixTransformer(**SMALL, drop_path_rate=0.2)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


def test_builder_reads_the_config() -> None:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    cfg.MODEL.MIT.DEPTHS = [1, 2, 1, 1]
    model = build_mit_backbone(cfg, ShapeSpec(channels=4))
    assert [len(stage.blocks) for stage in model.stages] == [1, 2, 1, 1]
    assert model.stages[0].patch_embed.conv.in_channels == 4
    assert model.output_shape()["res5"] == ShapeSpec(channels=256, stride=32)
