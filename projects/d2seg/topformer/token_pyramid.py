"""The token pyramid of TopFormer (Zhang et al. 2022, section 3.1): MobileNetV2's inverted residuals
(Sandler et al. 2018), whose maps of strides 4 to 32 are the tokens.

B batch, C channels, (H, W) image.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from ..backbones.outputs import STRIDE_OF_STAGE
from ..layers.conv import conv_norm

STEM_STRIDE = 2
_STAGE_OF_STRIDE = {stride: stage for stage, stride in STRIDE_OF_STAGE.items()}


class BlockSpec(NamedTuple):
    """One inverted residual."""

    kernel_size: int
    expansion: int
    channels: int
    stride: int


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; with a shortcut where the shape stays."""

    def __init__(self, in_channels: int, spec: BlockSpec, norm: str) -> None:
        super().__init__()
        hidden_dim = in_channels * spec.expansion
        self.expand = conv_norm(in_channels, hidden_dim, norm=norm) if spec.expansion > 1 else None
        self.depthwise = conv_norm(
            hidden_dim,
            hidden_dim,
            spec.kernel_size,
            norm=norm,
            stride=spec.stride,
            groups=hidden_dim,
        )
        self.project = conv_norm(hidden_dim, spec.channels, norm=norm)
        self.has_shortcut = spec.stride == 1 and in_channels == spec.channels

    def forward(self, features: Tensor) -> Tensor:
        hidden = features
        if self.expand is not None:
            hidden = F.relu(self.expand(hidden), inplace=True)
        hidden = self.project(F.relu(self.depthwise(hidden), inplace=True))
        return features + hidden if self.has_shortcut else hidden


class TokenPyramid(nn.Module):
    """A stem of stride 2 and inverted residuals; the last map of each stride from 4 on is kept."""

    def __init__(self, *, in_channels: int, blocks: Sequence[Sequence[int]], norm: str) -> None:
        """
        Args:
            blocks: rows of kernel size, expansion, channels and stride.

        Raises:
            ValueError: no rows; one of another length or with a stride that is neither 1 nor 2;
                strides that do not reach 4, 8, 16 and 32.
        """
        super().__init__()
        is_wrong = [len(row) != len(BlockSpec._fields) or row[-1] not in (1, 2) for row in blocks]
        if any(is_wrong) or not blocks:
            raise ValueError(
                "MODEL.TOPFORMER.PYRAMID_BLOCKS has rows of [kernel size, expansion, channels, "
                f"stride], the stride 1 or 2; got {[list(row) for row in blocks]}"
            )
        specs = [BlockSpec(*row) for row in blocks]
        channels = specs[0].channels
        self.stem = conv_norm(in_channels, channels, 3, norm=norm, stride=STEM_STRIDE)
        self.blocks = nn.ModuleList()
        self.stage_of_block: list[str | None] = []
        self.channels: dict[str, int] = {}  # of each stage
        stride = STEM_STRIDE
        for i, spec in enumerate(specs):
            self.blocks.append(InvertedResidual(channels, spec, norm))
            channels = spec.channels
            stride *= spec.stride
            is_last = i + 1 == len(specs) or specs[i + 1].stride > 1
            stage = _STAGE_OF_STRIDE.get(stride) if is_last else None
            self.stage_of_block.append(stage)
            if stage is not None:
                self.channels[stage] = channels
        if stride != max(_STAGE_OF_STRIDE) or list(self.channels) != list(STRIDE_OF_STAGE):
            raise ValueError(
                "MODEL.TOPFORMER.PYRAMID_BLOCKS must have four rows of stride 2, for strides 4, 8, "
                f"16 and 32 behind the stem of stride 2; got {[list(spec) for spec in specs]}"
            )

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) -> {"res2": (B, C, H/4, W/4), ..., "res5": (B, C, H/32, W/32)}, ceiled."""
        features = F.relu(self.stem(images), inplace=True)
        tokens = {}
        for stage, block in zip(self.stage_of_block, self.blocks, strict=True):
            features = block(features)
            if stage is not None:
                tokens[stage] = features
        return tokens
