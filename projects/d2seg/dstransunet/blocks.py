"""What encoder, fusion and decoder of DS-TransUNet share.

B batch, C channels, (h, w) a map.
"""

import math

from detectron2.layers import Conv2d
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import conv_norm

NUM_GROUPS = 32  # of all group norms, as published


def conv_norm_relu(in_channels: int, channels: int, num_groups: int = NUM_GROUPS) -> Conv2d:
    """3x3 convolution that keeps the size, group norm, ReLU.

    ``num_groups``: of the norm; where it does not divide the channels, as many as divide both.
    """
    norm = nn.GroupNorm(math.gcd(num_groups, channels), channels)
    return conv_norm(in_channels, channels, 3, norm=norm, bias=True, activation=F.relu)


def upsample(features: Tensor, factor: int = 2) -> Tensor:
    """(B, C, h, w) -> (B, C, factor * h, factor * w); all of the model's upsampling is nearest."""
    return F.interpolate(features, scale_factor=factor, mode="nearest")
