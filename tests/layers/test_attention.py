"""Multi-head attention against torch's own module with the same parameters."""

import pytest
import torch
from torch import Tensor, nn

from d2seg.layers.attention import MultiheadAttention

DIM, HEADS = 16, 4


@pytest.fixture
def both() -> tuple[MultiheadAttention, nn.MultiheadAttention]:
    torch.manual_seed(0)
    ours, theirs = MultiheadAttention(DIM, HEADS), nn.MultiheadAttention(DIM, HEADS)
    theirs.batch_first = True
    nn.init.normal_(ours.in_proj_bias)
    nn.init.normal_(ours.out_proj.bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def masks(batch_size: int) -> Tensor:
    """(B, 5, 7), each query of each image its own; True = may not attend."""
    mask = torch.rand(batch_size, 5, 7, generator=torch.Generator().manual_seed(1)) > 0.5
    mask[..., 0] = False  # something is left to attend to
    return mask


@pytest.mark.parametrize("kind", ["none", "shared", "per image"])
def test_cross_attention_and_gradients_equal_torch(both: tuple, kind: str) -> None:
    ours, theirs = both
    query, key, value = torch.randn(2, 5, DIM), torch.randn(2, 7, DIM), torch.randn(2, 7, DIM)
    mask = {"none": None, "shared": masks(1)[0], "per image": masks(2)}[kind]
    theirs_mask = mask.repeat_interleave(HEADS, 0) if kind == "per image" else mask
    actual = ours(query, key, value, mask)
    expected = theirs(query, key, value, attn_mask=theirs_mask, need_weights=False)[0]
    torch.testing.assert_close(actual, expected)
    weights = torch.randn_like(actual)
    (actual * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad)


def test_self_attention_equals_torch(both: tuple) -> None:
    ours, theirs = both
    tokens, value = torch.randn(2, 5, DIM), torch.randn(2, 5, DIM)
    expected = theirs(tokens, tokens, value, need_weights=False)[0]
    torch.testing.assert_close(ours(tokens, tokens, value), expected)


def test_what_is_masked_has_no_influence(both: tuple) -> None:
    ours, _ = both
    query, memory = torch.randn(2, 5, DIM), torch.randn(2, 7, DIM)
    mask = torch.zeros(2, 5, 7, dtype=torch.bool)
    mask[1, :, 3:] = True
    changed = memory.clone()
    changed[1, 3:] = 100.0
    torch.testing.assert_close(
        ours(query, memory, memory, mask), ours(query, changed, changed, mask)
    )


def test_dropout_acts_in_training_only() -> None:
    attention = MultiheadAttention(DIM, HEADS, dropout=0.5)
    tokens = torch.randn(1, 8, DIM)
    assert not torch.equal(attention(tokens, tokens, tokens), attention(tokens, tokens, tokens))
    attention.eval()
    assert torch.equal(attention(tokens, tokens, tokens), attention(tokens, tokens, tokens))


def test_channels_must_divide_into_heads() -> None:
    with pytest.raises(ValueError, match="10 channels cannot be split into 4 attention heads"):
        MultiheadAttention(10, 4)
