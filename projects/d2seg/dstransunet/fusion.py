"""The Transformer Interactive Fusion of DS-TransUNet (Lin et al. 2022): each scale attends to its
own tokens and to one token that stands for the other scale.

B batch, C channels, N tokens, (h, w) the fine map; the coarse one is (h / 2, w / 2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .blocks import NUM_GROUPS, conv_norm_relu, upsample


@dataclass(frozen=True)
class LayerSize:
    """The size of a transformer layer whose heads need not add up to the tokens' channels."""

    num_heads: int
    head_dim: int
    mlp_dim: int


class FusionLayer(nn.Module):
    """A pre-norm transformer layer without positions, (B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, size: LayerSize) -> None:
        super().__init__()
        self.num_heads = size.num_heads
        inner_dim = size.num_heads * size.head_dim
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * inner_dim, bias=False)
        self.proj = nn.Linear(inner_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, size.mlp_dim)
        self.fc2 = nn.Linear(size.mlp_dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = (
            third.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for third in self.qkv(self.norm1(tokens)).chunk(3, dim=-1)
        )  # (B, heads, N, C / heads)
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.proj(attended.transpose(1, 2).flatten(2))
        return tokens + self.fc2(F.gelu(self.fc1(self.norm2(tokens))))


class InteractiveFusion(nn.Module):
    """Two maps of one stage to one: their tokens interact, then convolutions join them."""

    def __init__(
        self,
        fine_dim: int,
        coarse_dim: int,
        *,
        fine_size: LayerSize,
        coarse_size: LayerSize,
        num_groups: int = NUM_GROUPS,
    ) -> None:
        """
        Args:
            fine_dim, coarse_dim: channels of the maps; the joint one has ``fine_dim``.
            num_groups: see :func:`conv_norm_relu`.
        """
        super().__init__()
        self.fine_norm = nn.LayerNorm(fine_dim)
        self.coarse_norm = nn.LayerNorm(coarse_dim)
        self.fine_to_coarse = nn.Linear(fine_dim, coarse_dim)
        self.coarse_to_fine = nn.Linear(coarse_dim, fine_dim)
        self.fine_layer = FusionLayer(fine_dim, fine_size)
        self.coarse_layer = FusionLayer(coarse_dim, coarse_size)
        self.join = nn.Sequential(
            conv_norm_relu(fine_dim + coarse_dim, fine_dim, num_groups),
            conv_norm_relu(fine_dim, fine_dim, num_groups),
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """(B, C, h, w) and (B, C', h / 2, w / 2) -> (B, C, h, w)."""
        fine, coarse = self.interact(fine, coarse)
        return self.join(torch.cat([fine, upsample(coarse)], dim=1))

    def interact(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Both maps after their layers, in the shapes that they had."""
        fine_size, coarse_size = fine.shape[-2:], coarse.shape[-2:]
        fine, coarse = (features.flatten(2).transpose(1, 2) for features in (fine, coarse))
        # the tokens themselves go into the layers without this norm
        fine_token = self.fine_to_coarse(self.fine_norm(fine).mean(1, keepdim=True))
        coarse_token = self.coarse_to_fine(self.coarse_norm(coarse).mean(1, keepdim=True))
        fine = self.fine_layer(torch.cat([coarse_token, fine], dim=1))[:, 1:]
        coarse = self.coarse_layer(torch.cat([fine_token, coarse], dim=1))[:, 1:]
        return (
            fine.transpose(1, 2).unflatten(2, fine_size),
            coarse.transpose(1, 2).unflatten(2, coarse_size),
        )
