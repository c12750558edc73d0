"""The decoders of SETR: Naive, PUP (progressive upsampling) and MLA (multi-level aggregation), and
their auxiliary heads (Zheng et al. 2021, section 3.3).

B batch, C channels, K classes, (h, w) the grid of patches.
"""

import torch
from detectron2.layers import Conv2d
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.conv import conv_norm
from ..layers.resampling import resize


class UpsamplingHead(nn.Module):
    """Convolutions with bilinear steps x2 between them, then a linear classifier.

    One 1x1 convolution is the Naive head, four of 3x3 are PUP, and one of 3x3 with
    ``upsampling`` 4 is PUP's auxiliary head.
    """

    def __init__(
        self,
        *,
        in_feature: str,
        in_channels: int,
        num_classes: int,
        hidden_dim: int = 256,
        num_convs: int = 1,
        kernel_size: int = 1,
        upsampling: int = 1,
        norm: str = "SyncBN",
    ) -> None:
        """``upsampling``: of the logits at the end. What is still missing to the image's size, a
        factor 2 in PUP, is the segmentor's."""
        super().__init__()
        self.in_feature = in_feature
        self.upsampling = upsampling
        self.norm = LayerNorm2d(in_channels)
        self.convs = nn.ModuleList(
            conv_norm(
                hidden_dim if i else in_channels,
                hidden_dim,
                kernel_size,
                norm=norm,
                bias=True,
                activation=F.relu,
            )
            for i in range(num_convs)
        )
        self.predictor = Conv2d(hidden_dim, num_classes, kernel_size=1)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """{stage: (B, C, h, w)} -> logits (B, K, s * h, s * w), s = 2^(convs - 1) * upsampling.

        The official heads resize before the classifier; it commutes with bilinear resizing, and
        has fewer channels behind it.
        """
        hidden = self.norm(features[self.in_feature])
        for i, conv in enumerate(self.convs):
            hidden = conv(_upsample(hidden, 2) if i else hidden)
        return _upsample(self.predictor(hidden), self.upsampling)


class MLAHead(nn.Module):
    """Two 3x3 convolutions and x4 for each map of the aggregation, joined by a classifier."""

    def __init__(
        self,
        *,
        in_features: tuple[str, ...],
        in_channels: int,
        num_classes: int,
        stream_dim: int = 128,
        norm: str = "SyncBN",
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.streams = nn.ModuleList(
            nn.Sequential(
                conv_norm(in_channels, stream_dim, 3, norm=norm, activation=F.relu),
                conv_norm(stream_dim, stream_dim, 3, norm=norm, activation=F.relu),
            )
            for _ in in_features
        )
        self.predictor = Conv2d(stream_dim * len(in_features), num_classes, 3, padding=1)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """{stage: (B, C, h, w)} -> logits (B, K, 4 * h, 4 * w)."""
        streams = [
            # as published, the corners are aligned here and nowhere else
            F.interpolate(
                stream(features[name]), scale_factor=4, mode="bilinear", align_corners=True
            )
            for name, stream in zip(self.in_features, self.streams, strict=True)
        ]
        return self.predictor(torch.cat(streams, dim=1))


class MLAAuxiliaryHead(nn.Module):
    """A linear classifier without bias on one map of the aggregation."""

    def __init__(self, *, in_feature: str, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.in_feature = in_feature
        self.predictor = Conv2d(in_channels, num_classes, kernel_size=1, bias=False)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """{stage: (B, C, h, w)} -> logits (B, K, h, w)."""
        return self.predictor(features[self.in_feature])


def _upsample(features: Tensor, factor: int) -> Tensor:
    return resize(features, [factor * side for side in features.shape[-2:]])
