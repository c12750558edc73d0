"""Residual transformer blocks whose position embeddings are added to queries and keys at every
layer, as in DETR (Carion et al. 2020, appendix A.3).

B batch, N queries or tokens, M memory tokens, C channels. All tensors are batch first.
Post-norm (the default): ``norm(x + f(x))``; pre-norm: ``x + f(norm(x))``.
"""

from torch import Tensor, nn

from .activated import LinearReLU
from .attention import MultiheadAttention


def _with_position(features: Tensor, position: Tensor | None) -> Tensor:
    return features if position is None else features + position


class _ResidualAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int, dropout: float, pre_norm: bool = False) -> None:
        super().__init__()
        self.attn = MultiheadAttention(dim, num_heads, dropout)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.pre_norm = pre_norm

    def _added(self, queries: Tensor, update: Tensor) -> Tensor:
        queries = queries + self.dropout(update)
        return queries if self.pre_norm else self.norm(queries)


class SelfAttention(_ResidualAttention):
    """Self-attention block, (B, N, C) -> (B, N, C)."""

    def forward(
        self,
        queries: Tensor,
        query_pos: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """``attn_mask``: (N, N) or (B, N, N) bool, True = may not attend."""
        value = self.norm(queries) if self.pre_norm else queries
        key = _with_position(value, query_pos)
        return self._added(queries, self.attn(key, key, value, attn_mask))


class CrossAttention(_ResidualAttention):
    """Attention from queries (B, N, C) to a memory (B, M, C)."""

    def forward(
        self,
        queries: Tensor,
        memory: Tensor,
        query_pos: Tensor | None = None,
        memory_pos: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        """``attn_mask``: (N, M) or (B, N, M) bool, True = may not attend."""
        normed = self.norm(queries) if self.pre_norm else queries
        update = self.attn(
            _with_position(normed, query_pos), _with_position(memory, memory_pos), memory, attn_mask
        )
        return self._added(queries, update)


class FeedForward(nn.Module):
    """Position-wise ReLU network, (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float, pre_norm: bool = False) -> None:
        super().__init__()
        self.linear1 = LinearReLU(dim, hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.pre_norm = pre_norm
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, queries: Tensor) -> Tensor:
        normed = self.norm(queries) if self.pre_norm else queries
        hidden = self.dropout(self.linear1(normed))
        queries = queries + self.dropout(self.linear2(hidden))
        return queries if self.pre_norm else self.norm(queries)


class TransformerEncoderLayer(nn.Module):
    def __init__(
        self, dim: int, num_heads: int, dim_feedforward: int, dropout: float, pre_norm: bool
    ) -> None:
        super().__init__()
        self.self_attention = SelfAttention(dim, num_heads, dropout, pre_norm)
        self.feed_forward = FeedForward(dim, dim_feedforward, dropout, pre_norm)

    def forward(self, tokens: Tensor, position: Tensor | None) -> Tensor:
        return self.feed_forward(self.self_attention(tokens, position))


class TransformerEncoder(nn.Module):
    """A stack of self-attention and feed-forward blocks, (B, N, C) -> (B, N, C)."""

    def __init__(
        self,
        dim: int,
        num_layers: int,
        num_heads: int,
        dim_feedforward: int,
        dropout: float,
        pre_norm: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TransformerEncoderLayer(dim, num_heads, dim_feedforward, dropout, pre_norm)
            for _ in range(num_layers)
        )
        # post-norm layers end with a norm of their own
        self.norm = nn.LayerNorm(dim) if pre_norm else nn.Identity()

    def forward(self, tokens: Tensor, position: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            tokens = layer(tokens, position)
        return self.norm(tokens)
