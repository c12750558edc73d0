"""FPN-style pixel decoder (Cheng et al. 2021, section 4.1), optionally with a transformer encoder
on the coarsest feature, as DETR has it.

Sizes are given for features from res2 (stride 4) to res5 (stride 32), the top of the pyramid.
"""

from dataclasses import dataclass
from functools import cached_property

import fvcore.nn.weight_init as weight_init
from detectron2.layers import Conv2d, ShapeSpec
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import TransformerEncoder, sine_position_encoding
from ..layers.conv import conv_norm


@dataclass(frozen=True)
class MultiScaleFeatures:
    mask_features: Tensor  # (B, mask_dim, H/4, W/4), the per-pixel embedding
    multi_scale_features: tuple[Tensor, ...]  # (B, C, h, w) of the pyramid, coarse to fine


@dataclass(frozen=True)
class PixelDecoderOutput:
    """It serves as :class:`MultiScaleFeatures` too."""

    finest: Tensor  # (B, C, H/4, W/4) of the pyramid
    projection: nn.Conv2d  # which makes the per-pixel embedding of it
    multi_scale_features: tuple[Tensor, ...]  # (B, C, h, w) of the pyramid, coarse to fine
    memory: Tensor  # (B, C, H/32, W/32), below the pyramid: what MaskFormer's decoder attends to

    @cached_property
    def mask_features(self) -> Tensor:
        return self.projection(self.finest)


def lateral_conv(in_channels: int, channels: int, norm: str) -> Conv2d:
    """1x1, from a feature of the backbone to the pyramid; a bias where there is no norm."""
    fill = weight_init.c2_xavier_fill
    return conv_norm(in_channels, channels, norm=norm, bias=norm == "", fill=fill)


def output_conv(in_channels: int, channels: int, norm: str) -> Conv2d:
    """3x3 with ReLU, of a level of the pyramid; a bias where there is no norm."""
    fill = weight_init.c2_xavier_fill
    return conv_norm(
        in_channels, channels, 3, norm=norm, bias=norm == "", activation=F.relu_, fill=fill
    )


def decoder_projection(in_channels: int, channels: int) -> nn.Module:
    """The projection of a pixel decoder's feature to a transformer decoder's width."""
    if in_channels == channels:  # as published: no projection where widths agree
        return nn.Identity()
    conv = Conv2d(in_channels, channels, kernel_size=1)
    weight_init.c2_xavier_fill(conv)
    return conv


class FPNPixelDecoder(nn.Module):
    """Top-down pathway with lateral connections, nearest upsampling, one 3x3 conv per level."""

    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        conv_dim: int = 256,
        mask_dim: int = 256,
        norm: str = "GN",
        encoder: TransformerEncoder | None = None,
        num_scales: int = 0,
    ) -> None:
        """
        Args:
            input_shape: channels and stride of the backbone's features, at least one.
            conv_dim: channels inside the pyramid.
            mask_dim: channels of ``mask_features``.
            norm: any name that detectron2's ``get_norm`` takes; "" for none.
            encoder: run on the projected top feature before the pyramid, of width ``conv_dim``.
            num_scales: how many of the pyramid's coarsest features to give out.
        """
        super().__init__()
        fine_to_coarse = sorted(input_shape, key=lambda name: input_shape[name].stride)
        *self.lateral_features, self.top_feature = fine_to_coarse
        channels = {name: input_shape[name].channels for name in fine_to_coarse}

        self.lateral_convs = nn.ModuleDict(
            {f: lateral_conv(channels[f], conv_dim, norm) for f in self.lateral_features}
        )
        top_channels = channels[self.top_feature] if encoder is None else conv_dim
        self.output_convs = nn.ModuleDict(
            {f: output_conv(conv_dim, conv_dim, norm) for f in self.lateral_features}
        )
        self.output_convs[self.top_feature] = output_conv(top_channels, conv_dim, norm)
        self.mask_features = Conv2d(conv_dim, mask_dim, kernel_size=3, padding=1)
        weight_init.c2_xavier_fill(self.mask_features)

        self.encoder = encoder
        if encoder is not None:
            self.input_proj = Conv2d(channels[self.top_feature], conv_dim, kernel_size=1)
            weight_init.c2_xavier_fill(self.input_proj)
        self.mask_stride = input_shape[fine_to_coarse[0]].stride  # of ``mask_features``
        self.memory_channels = top_channels
        self.num_scales = num_scales
        self.scale_channels = [conv_dim] * min(num_scales, len(fine_to_coarse))

    def forward(self, features: dict[str, Tensor]) -> PixelDecoderOutput:
        memory = features[self.top_feature]
        if self.encoder is not None:
            memory = self._encode(self.input_proj(memory))
        finest = self.output_convs[self.top_feature](memory)
        scales = [finest][: self.num_scales]  # no more is kept: the finest ones are large
        for name in reversed(self.lateral_features):
            lateral = self.lateral_convs[name](features[name])
            finest = F.interpolate(finest, size=lateral.shape[-2:], mode="nearest").add_(lateral)
            finest = self.output_convs[name](finest)
            if len(scales) < self.num_scales:
                scales.append(finest)
        return PixelDecoderOutput(finest, self.mask_features, tuple(scales), memory)

    def _encode(self, feature: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w) through the transformer encoder."""
        _, channels, height, width = feature.shape
        position = sine_position_encoding(height, width, channels, feature.device, feature.dtype)
        tokens = feature.flatten(2).transpose(1, 2)  # (B, h*w, C)
        tokens = self.encoder(tokens, position.flatten(1).T[None])
        # unflattened first: otherwise an only image's stride hides that the channels lie last
        return tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)
