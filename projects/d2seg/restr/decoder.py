"""ReSTR's coarse-to-fine decoder (Kim et al. 2022, section 3.3).

B images, E expressions, C channels, (h, w) the patch grid, L doublings of the resolution.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SLOPE = 0.01  # of the leaky ReLU
_NUMBERS_AT_ONCE = 2**18  # of a strip of the last map: 1 MiB, which stays in cache


class MaskDecoder(nn.Module):
    """Linear layers between bilinear doublings of the resolution.

    A linear layer without bias commutes with resizing, so each is applied before its doubling: a
    quarter of the work. The image's half of the first one is computed once for all expressions.
    """

    def __init__(self, dim: int, hidden_dims: Sequence[int]) -> None:
        """
        Args:
            dim: C of the patches.
            hidden_dims: one for each doubling.
        """
        super().__init__()
        self.dim = dim
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 1, bias=False)
            for before, after in pairwise([2 * dim, *hidden_dims])
        )
        self.predictor = nn.Conv2d(hidden_dims[-1], 1, 1, bias=False)

    def forward(self, patches: Tensor, masked: Tensor, image_of: Tensor) -> Tensor:
        """
        Args:
            patches: (B, C, h, w), of the image alone.
            masked: (E, C, h, w), weighted by their patch logits.
            image_of: (E,) int64, the image of each expression.

        Returns:
            Mask logits (E, h * 2^L, w * 2^L).
        """
        first, *others = self.layers
        of_image, of_expression = first.weight.split(self.dim, dim=1)
        of_image = F.conv2d(patches, of_image)
        if not torch.is_grad_enabled():
            masks = [
                self._decode_one(*pair) for pair in zip(of_image[image_of], masked, strict=True)
            ]
            return torch.stack(masks)
        features = of_image[image_of] + F.conv2d(masked, of_expression)
        for layer in others:
            features = layer(_double(features))
        return self.predictor(_double(features)).squeeze(1)

    def _decode_one(self, of_image: Tensor, masked: Tensor) -> Tensor:
        """One expression at inference, (C, h, w) each: products of matrices, since torch has slow
        1x1 convolutions for some memory layouts, and maps that fit into memory used before."""
        first, *others = (layer.weight.flatten(1) for layer in self.layers)
        features = torch.addmm(of_image.flatten(1), first[:, self.dim :], masked.flatten(1))
        height, width = masked.shape[-2:]
        for weight in others:
            features = _double(features.unflatten(1, (height, width))[None])[0]
            height, width = 2 * height, 2 * width
            features = weight @ features.flatten(1)
        return self._predict_in_strips(features.unflatten(1, (height, width)))

    def _predict_in_strips(self, features: Tensor) -> Tensor:
        """The last doubling and the predictor, (C, h, w) -> (2h, 2w), a few rows at a time: all
        rows are four times as many numbers, whose cost is mostly that of fresh memory."""
        height, width = features.shape[-2:]
        size = (height, 2 * width)
        wide = F.interpolate(features[None], size, mode="bilinear", align_corners=True)[0]
        wide = wide.transpose(0, 1).flatten(1)  # (h, C * 2w)
        rows = _doubling_matrix(height).to(wide)  # (2h, h)
        predictor = self.predictor.weight.flatten(1)  # (1, C)
        step = max(2, _NUMBERS_AT_ONCE // wide.shape[1])
        strips = []
        for start in range(0, 2 * height, step):
            matrix = rows[start : start + step]
            first, last = start // 2 - 1, (start + step) // 2 + 1  # what its rows lie between
            span = slice(max(first, 0), min(last + 1, height))
            strip = F.leaky_relu_(matrix[:, span] @ wide[span], _SLOPE)
            strips.append(predictor @ strip.unflatten(1, (-1, 2 * width)))
        return torch.cat(strips).squeeze(1)


def _doubling_matrix(length: int) -> Tensor:
    """(2 * length, length): bilinear resizing of one axis with aligned corners."""
    unit = torch.eye(length)[None, None]
    size = (2 * length, length)
    return F.interpolate(unit, size, mode="bilinear", align_corners=True)[0, 0]


def _double(features: Tensor) -> Tensor:
    resized = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
    return F.leaky_relu(resized, _SLOPE, inplace=not torch.is_grad_enabled())
