"""Cascaded upsampler of TransUNet (Chen et al. 2021, section 3.2).

B batch, K classes, C channels, h = H / 16 and w = W / 16 for images of H x W pixels.
"""

import torch
from detectron2.layers import ShapeSpec
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation


class UpsamplingBlock(nn.Module):
    """x2, joined with the skip connection if there is one, and two 3x3 convolutions."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = Conv2dNormActivation(in_channels + skip_channels, out_channels)
        self.conv2 = Conv2dNormActivation(out_channels, out_channels)

    def forward(self, features: Tensor, skip: Tensor | None) -> Tensor:
        """(B, C, h, w) and (B, C', 2h, 2w) -> (B, C'', 2h, 2w)."""
        # corners aligned, as published
        features = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
        if skip is not None:
            features = torch.cat([features, skip], dim=1)
        return self.conv2(self.conv1(features))


class CascadedUpsampler(nn.Module):
    """Upsamples the transformer's map to class logits at the image's resolution.

    Args:
        input_shape: of the backbone; must have ``in_feature`` at stride 16.
        skip_features: those of the other features that are joined, at strides 8, 4, 2 or 1; a
            stride without one is upsampled alone.
        head_channels: after the first convolution; 512 in the paper's figure 1.
        decoder_channels: after each of the four blocks; 256, 128, 64, 16 as published.

    Raises:
        ValueError: the backbone lacks a feature, a skip feature has no stride of its own among
            these, or the number of blocks is not four.
    """

    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        in_feature: str = "vit",
        skip_features: tuple[str, ...] = ("stem", "res2", "res3"),
        head_channels: int = 512,
        decoder_channels: tuple[int, ...] = (256, 128, 64, 16),
    ) -> None:
        super().__init__()
        if in_feature not in input_shape or input_shape[in_feature].stride != 16:
            raise ValueError(
                f"TransUNet upsamples '{in_feature}' of stride 16, but the backbone gives "
                f"{list(input_shape)}: set MODEL.BACKBONE.NAME to build_hybrid_vit_backbone"
            )
        missing = [name for name in skip_features if name not in input_shape]
        if missing:
            raise ValueError(
                f"MODEL.TRANSUNET.SKIP_FEATURES asks for {missing}, but the backbone gives "
                f"{list(input_shape)}"
            )
        strides = [8, 4, 2, 1]
        found = [input_shape[name].stride for name in skip_features]
        if len(set(found)) != len(found) or not set(found) <= set(strides):
            raise ValueError(
                f"MODEL.TRANSUNET.SKIP_FEATURES is {list(skip_features)}, of strides {found}; the "
                f"decoder joins one feature at most at each of {strides}"
            )
        if len(decoder_channels) != len(strides):
            raise ValueError(
                f"MODEL.TRANSUNET.DECODER_CHANNELS is {list(decoder_channels)}; it has one number "
                f"for each of the strides {strides}"
            )
        self.in_feature = in_feature
        skip_of_stride = dict(zip(found, skip_features, strict=True))
        self.skips = [skip_of_stride.get(stride) for stride in strides]
        self.conv_more = Conv2dNormActivation(input_shape[in_feature].channels, head_channels)
        self.blocks = nn.ModuleList()
        channels = head_channels
        for skip, out_channels in zip(self.skips, decoder_channels, strict=True):
            skip_channels = input_shape[skip].channels if skip else 0
            self.blocks.append(UpsamplingBlock(channels, skip_channels, out_channels))
            channels = out_channels
        self.predictor = nn.Conv2d(channels, num_classes, 3, padding=1)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """{name: (B, C, H / stride, W / stride)} -> logits (B, K, H, W)."""
        decoded = self.conv_more(features[self.in_feature])
        for block, skip in zip(self.blocks, self.skips, strict=True):
            decoded = block(decoded, features[skip] if skip else None)
        return self.predictor(decoded)
