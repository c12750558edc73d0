"""The convolutional half of the hybrid vision transformer: BiT's ResNet (Kolesnikov et al. 2020)
up to stride 16, as Dosovitskiy et al. 2021 (section 3.1) put it before a transformer.

Weights are standardised in every convolution and all norms are group norms. Despite its name the
blocks are those of ResNet v1: convolution, norm, ReLU, and a ReLU after the sum.

B batch, C channels, H and W multiples of 16.
"""

from collections import OrderedDict

import torch
from timm.layers import StdConv2d
from torch import Tensor, nn
from torch.nn import functional as F

CONV_EPS = 1e-5  # under the root of the standardisation
NORM_GROUPS = 32
NORM_EPS = 1e-6
EXPANSION = 4  # channels of a block's output over those of its 3x3 convolution


class GroupNorm(nn.GroupNorm):
    """torch's, without its refusal of a single value per group (an image of 16x16 pixels)."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.group_norm(features, self.num_groups, self.weight, self.bias, self.eps)


def _conv(in_channels: int, out_channels: int, size: int, stride: int = 1) -> StdConv2d:
    return StdConv2d(in_channels, out_channels, size, stride, padding=size // 2, eps=CONV_EPS)


class Bottleneck(nn.Module):
    """Residual block, (B, C, h, w) -> (B, 4 width, h / stride, w / stride)."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.conv1 = _conv(in_channels, width, 1)
        self.gn1 = GroupNorm(NORM_GROUPS, width, NORM_EPS)
        self.conv2 = _conv(width, width, 3, stride)
        self.gn2 = GroupNorm(NORM_GROUPS, width, NORM_EPS)
        self.conv3 = _conv(width, out_channels, 1)
        self.gn3 = GroupNorm(NORM_GROUPS, out_channels, NORM_EPS)
        self.projects = stride != 1 or in_channels != out_channels
        if self.projects:
            self.conv_proj = _conv(in_channels, out_channels, 1, stride)
            # as published: a group per channel, and another epsilon than all other norms
            self.gn_proj = GroupNorm(out_channels, out_channels, 1e-5)

    def forward(self, features: Tensor) -> Tensor:
        shortcut = self.gn_proj(self.conv_proj(features)) if self.projects else features
        features = F.relu(self.gn1(self.conv1(features)), inplace=True)
        features = F.relu(self.gn2(self.conv2(features)), inplace=True)
        return F.relu(self.gn3(self.conv3(features)) + shortcut, inplace=True)


class ResNetV2(nn.Module):
    """Root and three stages: features at strides 2, 4, 8 and 16.

    Args:
        depths: blocks of the three stages; (3, 4, 9) is the hybrid's R50, ResNet-50 with the
            blocks of its last stage moved to the third.
        width: channels after the root; the stages have 4, 8 and 16 times as many.

    Raises:
        ValueError: ``width`` is no multiple of the norms' 32 groups, or not three depths.
    """

    def __init__(self, *, in_channels: int, depths: tuple[int, ...], width: int) -> None:
        super().__init__()
        if width < NORM_GROUPS or width % NORM_GROUPS:
            raise ValueError(
                f"MODEL.HYBRID_VIT.CNN_WIDTH is {width}; it must be a multiple of the "
                f"{NORM_GROUPS} groups of the norms"
            )
        if len(depths) != 3:
            raise ValueError(
                f"MODEL.HYBRID_VIT.CNN_DEPTHS is {list(depths)}; it has one depth for each of the "
                "strides 4, 8 and 16, or is empty"
            )
        root = {
            "conv": _conv(in_channels, width, 7, 2),
            "gn": GroupNorm(NORM_GROUPS, width, NORM_EPS),
            "relu": nn.ReLU(inplace=True),
        }
        self.root = nn.Sequential(OrderedDict(root))
        channels = width
        for stage, depth in enumerate(depths):
            units: OrderedDict[str, nn.Module] = OrderedDict()
            for unit in range(depth):
                stride = 2 if stage > 0 and unit == 0 else 1
                units[f"unit{unit + 1}"] = Bottleneck(channels, width << stage, stride)
                channels = EXPANSION * width << stage
            self.add_module(f"block{stage + 1}", nn.Sequential(units))
        self.channels = {"stem": width} | {
            f"res{stage + 2}": EXPANSION * width << stage for stage in range(3)
        }

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> {"stem": stride 2, "res2": 4, "res3": 8, "res4": 16}."""
        stem = self.root(images)
        # as published: a pooling without padding, which leaves H / 4 - 1 rows; the next stage's
        # stride makes H / 8 of both, so that only the output has to be brought to H / 4
        pooled = F.max_pool2d(stem, 3, 2)
        res2 = self.block1(pooled)
        res3 = self.block2(res2)
        height, width = images.shape[-2] // 4, images.shape[-1] // 4
        padded = F.pad(res2, (0, width - res2.shape[-1], 0, height - res2.shape[-2]))
        return {"stem": stem, "res2": padded, "res3": res3, "res4": self.block3(res3)}
