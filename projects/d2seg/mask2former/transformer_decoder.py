"""The masked-attention decoder of Mask2Former (Cheng et al. 2022, section 3.2).

B batch, Q queries, C channels, L predictions, K classes, M cells of a feature of (h, w).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layers import MLP, CrossAttention, FeedForward, SelfAttention, sine_position_encoding
from ..layers.resampling import resize
from ..mask_classification.pixel_decoder import MultiScaleFeatures, decoder_projection
from ..mask_classification.query_masks import QueryMasks


@dataclass(frozen=True)
class Scale:
    """What a layer attends to."""

    memory: Tensor  # (B, M, C)
    position: Tensor  # (1, M, C)
    mask_features: Tensor  # (B, C, M) the per-pixel embedding at this scale, without gradient


class MaskedAttentionLayer(nn.Module):
    """Masked attention comes first: queries carry nothing of the image before (section 3.2.3)."""

    def __init__(
        self, dim: int, num_heads: int, dim_feedforward: int, dropout: float, pre_norm: bool
    ) -> None:
        super().__init__()
        self.cross_attention = CrossAttention(dim, num_heads, dropout, pre_norm)
        self.self_attention = SelfAttention(dim, num_heads, dropout, pre_norm)
        self.feed_forward = FeedForward(dim, dim_feedforward, dropout, pre_norm)

    def forward(
        self,
        queries: Tensor,
        query_pos: Tensor,
        memory: Tensor,
        memory_pos: Tensor,
        attn_mask: Tensor,
    ) -> Tensor:
        """``attn_mask``: (B, Q, M) bool, True = may not attend."""
        queries = self.cross_attention(queries, memory, query_pos, memory_pos, attn_mask)
        queries = self.self_attention(queries, query_pos)
        return self.feed_forward(queries)


class MaskedAttentionDecoder(nn.Module):
    """Learned queries attend to one scale after another, each within its own mask."""

    def __init__(
        self,
        *,
        scale_channels: list[int],
        num_classes: int,
        num_queries: int = 100,
        hidden_dim: int = 256,
        mask_dim: int = 256,
        num_heads: int = 8,
        dim_feedforward: int = 2048,
        num_layers: int = 9,
        dropout: float = 0.0,
        pre_norm: bool = False,
        deep_supervision: bool = True,
        checkpoint_activations: bool = False,
    ) -> None:
        """
        Args:
            scale_channels: of the features that the layers attend to in turn, coarse to fine.
            num_classes: without no-object.
            num_layers: exactly as many; 9 are 3 rounds over 3 scales (section 3.2.4).
            deep_supervision: predict from the initial queries and after every layer in training,
                not after the last alone.
            checkpoint_activations: recompute the layers in the backward pass.
        """
        super().__init__()
        self.query_feat = nn.Embedding(num_queries, hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)  # position
        self.level_embed = nn.Embedding(len(scale_channels), hidden_dim)
        self.input_projs = nn.ModuleList(
            decoder_projection(channels, hidden_dim) for channels in scale_channels
        )
        self.layers = nn.ModuleList(
            MaskedAttentionLayer(hidden_dim, num_heads, dim_feedforward, dropout, pre_norm)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        self.mask_embed = MLP(hidden_dim, hidden_dim, mask_dim, 3)
        self.deep_supervision = deep_supervision
        self.checkpoint_activations = checkpoint_activations

    def forward(self, decoded: MultiScaleFeatures) -> tuple[Tensor, QueryMasks]:
        """
        Returns:
            pred_logits (L, B, Q, K+1) and the masks. In training with deep supervision L is the
            number of layers plus one for the initial queries, otherwise 1.
        """
        scales = self._scales(decoded)
        batch_size = len(decoded.mask_features)
        query_pos = self.query_embed.weight.expand(batch_size, -1, -1)
        queries = self.query_feat.weight.expand(batch_size, -1, -1)
        normed = [self.norm(queries)]
        embeddings = [self.mask_embed(normed[0])]
        for index, layer in enumerate(self.layers):
            scale = scales[index % len(scales)]
            attn_mask = masked_out(embeddings[-1], scale.mask_features)
            arguments = (queries, query_pos, scale.memory, scale.position, attn_mask)
            if self.checkpoint_activations and torch.is_grad_enabled():
                queries = checkpoint(layer, *arguments, use_reentrant=False)
            else:
                queries = layer(*arguments)
            normed.append(self.norm(queries))
            embeddings.append(self.mask_embed(normed[-1]))
        if not (self.training and self.deep_supervision):
            normed, embeddings = normed[-1:], embeddings[-1:]
        masks = QueryMasks(torch.stack(embeddings), decoded.mask_features)
        return self.class_embed(torch.stack(normed)), masks

    def _scales(self, decoded: MultiScaleFeatures) -> list[Scale]:
        scales = []
        for feature, project, level_embed in zip(
            decoded.multi_scale_features, self.input_projs, self.level_embed.weight, strict=True
        ):
            height, width = feature.shape[-2:]
            memory = project(feature).flatten(2).transpose(1, 2)
            memory = memory + level_embed.to(memory.dtype)
            position = sine_position_encoding(
                height, width, memory.shape[-1], memory.device, memory.dtype
            )
            # A mask at this scale is the resized mask. Resizing and the product with a query's
            # embedding are linear and commute, so the features are resized, once for all layers.
            mask_features = resize(decoded.mask_features.detach(), (height, width))
            # contiguous, or each product in bf16 on a CPU would copy them
            mask_features = mask_features.flatten(2).contiguous()
            scales.append(Scale(memory, position.flatten(1).T[None], mask_features))
        return scales


@torch.no_grad()
def masked_out(mask_embed: Tensor, mask_features: Tensor) -> Tensor:
    """The mask of where queries may not attend: outside the masks that they predict.

    A query whose mask is empty attends everywhere. No index depends on the values, so that the
    model can be exported.

    Args:
        mask_embed: (B, Q, C).
        mask_features: (B, C, M).

    Returns:
        (B, Q, M) bool, True = may not attend.
    """
    outside = mask_embed @ mask_features < 0  # a probability below 0.5
    return outside & ~outside.all(dim=-1, keepdim=True)
