"""The attention blocks against torch's own transformer layers with the same weights."""

import pytest
import torch
from torch import nn

from d2seg.layers import MLP, CrossAttention, FeedForward, SelfAttention, TransformerEncoder
from d2seg.layers.transformer import TransformerEncoderLayer

DIM, HEADS, HIDDEN = 16, 4, 32


def fill_from_torch(block: nn.Module, reference: nn.Module) -> None:
    """Copy the weights of a torch encoder or decoder layer into our blocks."""
    block.self_attention.attn.load_state_dict(reference.self_attn.state_dict())
    block.self_attention.norm.load_state_dict(reference.norm1.state_dict())
    block.feed_forward.linear1.load_state_dict(reference.linear1.state_dict())
    block.feed_forward.linear2.load_state_dict(reference.linear2.state_dict())
    block.feed_forward.norm.load_state_dict(reference.norm2.state_dict())


def torch_attention(attention: nn.Module) -> nn.MultiheadAttention:
    """The same weights in torch's own module."""
    reference = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    reference.load_state_dict(attention.state_dict())
    return reference


@pytest.mark.parametrize("pre_norm", [False, True])
def test_encoder_layer_equals_torch(pre_norm: bool) -> None:
    torch.manual_seed(0)
    reference = nn.TransformerEncoderLayer(
        DIM, HEADS, HIDDEN, dropout=0.0, batch_first=True, norm_first=pre_norm
    )
    nn.init.normal_(reference.norm1.weight)
    layer = TransformerEncoderLayer(DIM, HEADS, HIDDEN, 0.0, pre_norm)
    fill_from_torch(layer, reference)
    tokens = torch.randn(2, 5, DIM)
    torch.testing.assert_close(layer(tokens, None), reference(tokens))


@pytest.mark.parametrize("pre_norm", [False, True])
def test_cross_attention_equals_torch(pre_norm: bool) -> None:
    torch.manual_seed(0)
    block = CrossAttention(DIM, HEADS, 0.0, pre_norm)
    queries, memory = torch.randn(2, 3, DIM), torch.randn(2, 7, DIM)
    query_pos, memory_pos = torch.randn(2, 3, DIM), torch.randn(1, 7, DIM)
    normed = block.norm(queries) if pre_norm else queries
    update = torch_attention(block.attn)(normed + query_pos, memory + memory_pos, memory)[0]
    expected = queries + update if pre_norm else block.norm(queries + update)
    actual = block(queries, memory, query_pos, memory_pos)
    torch.testing.assert_close(actual, expected)


def test_masks_forbid_attention() -> None:
    torch.manual_seed(0)
    block = CrossAttention(DIM, HEADS, 0.0)
    queries, memory = torch.randn(1, 2, DIM), torch.randn(1, 4, DIM)
    mask = torch.zeros(2, 4, dtype=torch.bool)
    mask[:, 2:] = True
    torch.testing.assert_close(
        block(queries, memory, attn_mask=mask), block(queries, memory[:, :2])
    )


def test_self_attention_adds_position_to_keys_not_to_values() -> None:
    torch.manual_seed(0)
    block = SelfAttention(DIM, HEADS, 0.0)
    queries, position = torch.randn(1, 3, DIM), torch.randn(1, 3, DIM)
    update = torch_attention(block.attn)(queries + position, queries + position, queries)[0]
    torch.testing.assert_close(block(queries, position), block.norm(queries + update))


def test_dropout_acts_in_training_only() -> None:
    block = FeedForward(DIM, HIDDEN, 0.5)
    tokens = torch.randn(1, 8, DIM)
    assert not torch.equal(block(tokens), block(tokens))
    block.eval()
    assert torch.equal(block(tokens), block(tokens))


def test_pre_norm_encoder_ends_with_a_norm() -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(DIM, 2, HEADS, HIDDEN, 0.0, pre_norm=True)
    tokens = encoder(torch.randn(2, 5, DIM))
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)
    assert len(list(encoder.parameters())) == 2 * 12 + 2


def test_mlp_is_linear_relu_linear() -> None:
    mlp = MLP(3, 5, 2, num_layers=3)
    first, second, third = mlp.layers
    features = torch.randn(4, 3)
    torch.testing.assert_close(mlp(features), third(second(first(features).relu()).relu()))
    assert [layer.out_features for layer in mlp.layers] == [5, 5, 2]
