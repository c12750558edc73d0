"""Semantics of tokens of all scales, and their injection (Zhang et al. 2022, sections 3.2 and 3.3).

B batch, C channels, (h, w) the grid of pooled tokens, N = h * w.
"""

from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import conv_norm
from ..layers.resampling import resize

VALUE_RATIO = 2  # channels of a value over those of a key (section 3.4)
HIDDEN_RATIO = 2  # of the feed-forward network (section 3.4)


class ConvAttention(nn.Module):
    """Self-attention whose projections are 1x1 convolutions with batch norms, as in LeViT.

    As in the official code, the products are not divided by the root of the key's dimension.
    """

    def __init__(self, dim: int, num_heads: int, key_dim: int, norm: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        value_dim = VALUE_RATIO * key_dim
        self.query = conv_norm(dim, num_heads * key_dim, norm=norm)
        self.key = conv_norm(dim, num_heads * key_dim, norm=norm)
        self.value = conv_norm(dim, num_heads * value_dim, norm=norm)
        self.project = conv_norm(num_heads * value_dim, dim, norm=norm)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        query, key, value = (
            # (B, heads, N, C / heads)
            projection(tokens).flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3)
            for projection in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        attended = attended.transpose(2, 3).flatten(1, 2).unflatten(2, tokens.shape[-2:])
        return self.project(F.relu6(attended))


class ConvFeedForward(nn.Module):
    """1x1 convolutions with a 3x3 depthwise one between: (B, C, h, w) -> (B, C, h, w)."""

    def __init__(self, dim: int, norm: str) -> None:
        super().__init__()
        hidden_dim = HIDDEN_RATIO * dim
        self.expand = conv_norm(dim, hidden_dim, norm=norm)
        self.depthwise = nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, groups=hidden_dim)
        self.project = conv_norm(hidden_dim, dim, norm=norm)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.project(F.relu6(self.depthwise(self.expand(tokens)), inplace=True))


class SemanticsBlock(nn.Module):
    """Attention and feed-forward network, each with a shortcut."""

    def __init__(
        self, dim: int, num_heads: int, key_dim: int, drop_path_rate: float, norm: str
    ) -> None:
        super().__init__()
        self.attention = ConvAttention(dim, num_heads, key_dim, norm)
        self.feed_forward = ConvFeedForward(dim, norm)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.drop_path(self.attention(tokens))
        return tokens + self.drop_path(self.feed_forward(tokens))


class SemanticsInjection(nn.Module):
    """Local tokens, gated by the semantics of their scale, plus these (section 3.3)."""

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__()
        self.local = conv_norm(in_channels, out_channels, norm=norm)
        self.content = conv_norm(in_channels, out_channels, norm=norm)
        self.gate = conv_norm(in_channels, out_channels, norm=norm)

    def forward(self, tokens: Tensor, semantics: Tensor) -> Tensor:
        """tokens (B, C, H, W), semantics (B, C, h, w) -> (B, C', H, W)."""
        size = tokens.shape[-2:]
        gate = resize(F.hardsigmoid(self.gate(semantics)), size)
        return self.local(tokens) * gate + resize(self.content(semantics), size)
