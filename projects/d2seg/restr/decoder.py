"""ReSTR's coarse-to-fine decoder (Kim et al. 2022, section 3.3).

B images, E expressions, C channels, (h, w) the patch grid, L doublings of the resolution.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SLOPE = 0.01  # of the leaky ReLU


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
        features = F.conv2d(patches, of_image)[image_of] + F.conv2d(masked, of_expression)
        features = _double(features)
        for layer in others:
            features = _double(layer(features))
        return self.predictor(features).squeeze(1)


def _double(features: Tensor) -> Tensor:
    resized = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
    return F.leaky_relu(resized, _SLOPE, inplace=not torch.is_grad_enabled())
