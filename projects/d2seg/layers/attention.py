"""Multi-head attention (Vaswani et al. 2017, section 3.2) through
``torch.nn.functional.scaled_dot_product_attention``.

B batch, N queries, M memory tokens, C channels. All tensors are batch first.
"""

import math

import torch
from torch import Tensor, empty, nn, zeros
from torch.nn import functional as F


class MultiheadAttention(nn.Module):
    """``torch.nn.MultiheadAttention`` under the same parameter names, with one mask per image that
    all heads share: torch's own wants one per head, which for masks over pixels is large."""

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        """
        Args:
            dropout: of the attention weights, in training.

        Raises:
            ValueError: ``dim`` is not a multiple of ``num_heads``.
        """
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{dim} channels cannot be split into {num_heads} attention heads")
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(empty(3 * dim, dim))  # queries, keys, values
        self.in_proj_bias = nn.Parameter(zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
    ) -> Tensor:
        """
        Args:
            query: (B, N, C).
            key, value: (B, M, C).
            attn_mask: (N, M) or (B, N, M) bool, True = may not attend. Every query needs something
                that it may attend to.

        Returns:
            (B, N, C).
        """
        query, key, value = (
            projected.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for projected in self._project(query, key, value)
        )  # (B, heads, N or M, C / heads)
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if attn_mask is None else _mask_of_torch(attn_mask, query.dtype),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        weight, bias = self.in_proj_weight, self.in_proj_bias
        dim = weight.shape[1]
        if query is key:  # self-attention: one product for both
            both = F.linear(query, weight[: 2 * dim], bias[: 2 * dim])
            return (*both.chunk(2, dim=-1), F.linear(value, weight[2 * dim :], bias[2 * dim :]))
        weights, biases = weight.chunk(3), bias.chunk(3)
        return tuple(map(F.linear, (query, key, value), weights, biases))


def _mask_of_torch(attn_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """As torch wants it, with an axis for the heads: True where a query may attend, or, on a CPU,
    what is added to the logits, which torch would else make of that in steps of its own, and ONNX
    with a search for rows that attend to nothing."""
    if attn_mask.device.type != "cpu":
        return attn_mask.logical_not().unsqueeze(-3)
    bias = zeros(attn_mask.shape, dtype=dtype, device=attn_mask.device)
    return bias.masked_fill_(attn_mask, -math.inf).unsqueeze(-3)
