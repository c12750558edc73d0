"""Pixel decoder of Mask2Former (Cheng et al. 2022, section 3.2.2 and appendix A): a transformer
encoder with multi-scale deformable attention (Zhu et al. 2021) on the coarse features, an FPN from
there to the finest one.

B batch, C channels, S tokens of all encoder levels together, coarse to fine.
"""

import fvcore.nn.weight_init as weight_init
import torch
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..layers import FeedForward, sine_position_encoding
from ..layers.deformable_attention import MultiScaleDeformableAttention
from ..mask_classification.pixel_decoder import MultiScaleFeatures, lateral_conv, output_conv

Shapes = list[tuple[int, int]]


class DeformableEncoderLayer(nn.Module):
    """Deformable attention of all tokens to all levels, and a feed-forward network; post-norm."""

    def __init__(self, attention: MultiScaleDeformableAttention, feed_forward: FeedForward) -> None:
        super().__init__()
        dim = feed_forward.norm.normalized_shape
        self.attention = attention
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(feed_forward.dropout.p)
        self.feed_forward = feed_forward

    def forward(
        self, tokens: Tensor, position: Tensor, reference_points: Tensor, shapes: Shapes
    ) -> Tensor:
        """(B, S, C) -> (B, S, C)."""
        update = self.attention(tokens + position, reference_points, tokens, shapes)
        return self.feed_forward(self.norm(tokens + self.dropout(update)))


class DeformableEncoder(nn.Module):
    """A stack of layers over the flattened levels."""

    def __init__(
        self,
        *,
        dim: int,
        num_levels: int,
        num_layers: int = 6,
        num_heads: int = 8,
        num_points: int = 4,
        dim_feedforward: int = 1024,
        dropout: float = 0.0,
        attention_implementation: str = "auto",
        checkpoint_activations: bool = False,
    ) -> None:
        """
        Args:
            num_points: sampling points per query, head and level.
            attention_implementation: see ``layers/deformable_attention``.
            checkpoint_activations: recompute the layers in the backward pass.
        """
        super().__init__()
        self.layers = nn.ModuleList(
            DeformableEncoderLayer(
                MultiScaleDeformableAttention(
                    dim, num_levels, num_heads, num_points, attention_implementation
                ),
                FeedForward(dim, dim_feedforward, dropout),
            )
            for _ in range(num_layers)
        )
        self.level_embed = nn.Embedding(num_levels, dim)
        self.checkpoint_activations = checkpoint_activations

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Levels (B, C, h, w) in any sizes -> the same sizes."""
        shapes = [tuple(level.shape[-2:]) for level in levels]
        tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        position = torch.cat(
            [
                sine_position_encoding(*shape, tokens.shape[-1], tokens.device).flatten(1).T + embed
                for shape, embed in zip(shapes, self.level_embed.weight, strict=True)
            ]
        )[None].to(tokens.dtype)  # (1, S, C)
        reference_points = cell_centers(shapes, tokens.device)
        for layer in self.layers:
            arguments = (tokens, position, reference_points, shapes)
            if self.checkpoint_activations and torch.is_grad_enabled():
                tokens = checkpoint(layer, *arguments, use_reentrant=False)
            else:
                tokens = layer(*arguments)
        parts = tokens.split([height * width for height, width in shapes], dim=1)
        # unflattened first: otherwise an only image's stride hides that the channels lie last
        return [
            part.unflatten(1, shape).permute(0, 3, 1, 2)
            for part, shape in zip(parts, shapes, strict=True)
        ]


def cell_centers(shapes: Shapes, device: torch.device) -> Tensor:
    """The position of each cell of each level, once for every level that it may look at.

    Returns:
        (1, S, L, 2), (x, y) in (0, 1) over the padded image.
    """

    def centers(cells: int) -> Tensor:
        return (torch.arange(cells, device=device, dtype=torch.float32) + 0.5) / cells

    points = [
        torch.stack(torch.meshgrid(centers(width), centers(height), indexing="xy"), dim=-1)
        for height, width in shapes
    ]  # (h, w, 2) each
    flat = torch.cat([level.flatten(0, 1) for level in points])
    return flat[None, :, None].expand(-1, -1, len(shapes), -1)


class DeformablePixelDecoder(nn.Module):
    """Encoder over the features at its strides, lateral connections to the finer ones."""

    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        encoder: DeformableEncoder,
        encoder_features: list[str],
        conv_dim: int = 256,
        mask_dim: int = 256,
        norm: str = "GN",
        num_scales: int = 3,
    ) -> None:
        """
        Args:
            input_shape: channels and stride of the backbone's features.
            encoder: of width ``conv_dim``, with as many levels as ``encoder_features``.
            encoder_features: those that the encoder works on; the others must be finer.
            conv_dim: channels throughout.
            mask_dim: channels of ``mask_features``.
            norm: any name that detectron2's ``get_norm`` takes; "" for none.
            num_scales: how many of the coarsest features the transformer decoder gets.

        Raises:
            ValueError: ``encoder_features`` are not the coarsest ones of ``input_shape``.
        """
        super().__init__()
        fine_to_coarse = sorted(input_shape, key=lambda name: input_shape[name].stride)
        self.encoder_features = fine_to_coarse[::-1][: len(encoder_features)]  # coarse to fine
        if sorted(self.encoder_features) != sorted(encoder_features) or not encoder_features:
            raise ValueError(
                f"MODEL.MASK2FORMER.ENCODER_IN_FEATURES is {list(encoder_features)}; it must name "
                f"the coarsest of MODEL.SEM_SEG_HEAD.IN_FEATURES, {fine_to_coarse}"
            )
        self.lateral_features = fine_to_coarse[: -len(encoder_features)][::-1]  # coarse to fine
        channels = {name: input_shape[name].channels for name in fine_to_coarse}

        self.input_projs = nn.ModuleList(
            _input_projection(channels[name], conv_dim, norm) for name in self.encoder_features
        )
        self.encoder = encoder
        self.lateral_convs = nn.ModuleDict(
            {f: lateral_conv(channels[f], conv_dim, norm) for f in self.lateral_features}
        )
        self.output_convs = nn.ModuleDict(
            {f: output_conv(conv_dim, conv_dim, norm) for f in self.lateral_features}
        )
        self.mask_features = Conv2d(conv_dim, mask_dim, kernel_size=1)
        weight_init.c2_xavier_fill(self.mask_features)
        self.num_scales = num_scales
        self.scale_channels = [conv_dim] * min(num_scales, len(fine_to_coarse))

    def forward(self, features: dict[str, Tensor]) -> MultiScaleFeatures:
        projected = [
            project(features[name])
            for name, project in zip(self.encoder_features, self.input_projs, strict=True)
        ]
        pyramid = self.encoder(projected)
        for name in self.lateral_features:
            lateral = self.lateral_convs[name](features[name])
            # bilinear, where MaskFormer's FPN takes the nearest
            finer = F.interpolate(
                pyramid[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False
            )
            pyramid.append(self.output_convs[name](finer.add_(lateral)))
        return MultiScaleFeatures(
            self.mask_features(pyramid[-1]), tuple(pyramid[: self.num_scales])
        )


def _input_projection(in_channels: int, channels: int, norm: str) -> nn.Sequential:
    """1x1 convolution with a bias, unlike :func:`lateral_conv`'s, and a norm."""
    conv = nn.Conv2d(in_channels, channels, kernel_size=1)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, get_norm(norm, channels) or nn.Identity())
