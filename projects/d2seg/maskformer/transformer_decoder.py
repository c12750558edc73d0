"""The transformer decoder of MaskFormer (Cheng et al. 2021, section 4.1): DETR's, on one feature.

B batch, Q queries, C channels, L layers, K classes.
"""

import torch
from torch import Tensor, nn

from ..layers import MLP, CrossAttention, FeedForward, SelfAttention, sine_position_encoding
from ..mask_classification.pixel_decoder import PixelDecoderOutput, decoder_projection
from ..mask_classification.query_masks import QueryMasks


class DecoderLayer(nn.Module):
    def __init__(
        self, dim: int, num_heads: int, dim_feedforward: int, dropout: float, pre_norm: bool
    ) -> None:
        super().__init__()
        self.self_attention = SelfAttention(dim, num_heads, dropout, pre_norm)
        self.cross_attention = CrossAttention(dim, num_heads, dropout, pre_norm)
        self.feed_forward = FeedForward(dim, dim_feedforward, dropout, pre_norm)

    def forward(
        self, queries: Tensor, memory: Tensor, query_pos: Tensor, memory_pos: Tensor
    ) -> Tensor:
        queries = self.self_attention(queries, query_pos)
        queries = self.cross_attention(queries, memory, query_pos, memory_pos)
        return self.feed_forward(queries)


class MaskFormerDecoder(nn.Module):
    """Learned queries attend to the pixel decoder's memory; each yields a class and a mask."""

    def __init__(
        self,
        *,
        memory_channels: int,
        num_classes: int | None,
        num_queries: int = 100,
        hidden_dim: int = 256,
        mask_dim: int = 256,
        num_heads: int = 8,
        dim_feedforward: int = 2048,
        num_layers: int = 6,
        dropout: float = 0.1,
        pre_norm: bool = False,
        deep_supervision: bool = True,
    ) -> None:
        """
        Args:
            memory_channels: of the feature that the queries attend to.
            num_classes: without no-object; ``None`` for no class head (per-pixel baseline).
            deep_supervision: predict after every layer in training, not after the last alone.
        """
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(hidden_dim, num_heads, dim_feedforward, dropout, pre_norm)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.input_proj = decoder_projection(memory_channels, hidden_dim)
        self.class_embed = None if num_classes is None else nn.Linear(hidden_dim, num_classes + 1)
        self.mask_embed = MLP(hidden_dim, hidden_dim, mask_dim, 3)
        self.deep_supervision = deep_supervision

    def forward(self, decoded: PixelDecoderOutput) -> tuple[Tensor | None, QueryMasks]:
        """
        Returns:
            pred_logits: (L, B, Q, K+1), or ``None`` without a class head.
            pred_masks: of (L, B, Q, h, w), at the resolution of ``mask_features``. L counts all
            layers in training with deep supervision and is 1 otherwise.
        """
        hidden = self._decode(self.input_proj(decoded.memory))  # (L, B, Q, C)
        pred_logits = None if self.class_embed is None else self.class_embed(hidden)
        embeddings = self.mask_embed(hidden)
        if self.training or torch.is_grad_enabled():  # losses take the embedding itself
            return pred_logits, QueryMasks(embeddings, decoded.mask_features)
        return pred_logits, QueryMasks(embeddings, decoded.finest, decoded.projection)

    def _decode(self, memory: Tensor) -> Tensor:
        batch_size, channels, height, width = memory.shape
        memory_pos = sine_position_encoding(height, width, channels, memory.device, memory.dtype)
        memory_pos = memory_pos.flatten(1).T[None]  # (1, h*w, C)
        memory = memory.flatten(2).transpose(1, 2)  # (B, h*w, C)
        query_pos = self.query_embed.weight.expand(batch_size, -1, -1)
        queries = torch.zeros_like(query_pos)
        per_layer = []
        for layer in self.layers:
            queries = layer(queries, memory, query_pos, memory_pos)
            per_layer.append(queries)
        if not (self.training and self.deep_supervision):
            per_layer = per_layer[-1:]
        return self.norm(torch.stack(per_layer))
