"""ReSTR's coarse-to-fine decoder (Kim et al. 2022, section 3.3).

B images, E expressions, C channels, (h, w) the patch grid, L doublings of the resolution.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.chunking import budget
from ..layers.recording import is_recording

_SLOPE = 0.01  # of the leaky ReLU
_STRIP = budget(1 << 18)  # of the last map: 1 MiB, which stays in cache


class MaskDecoder(nn.Module):
    """Linear layers between bilinear doublings of the resolution.

    A linear layer without bias commutes with resizing, so each is applied before its doubling: a
    quarter of the work. The image's half of the first one is computed once for all expressions; the
    other half is multiplied with the projection that comes before it, which saves that one's pass.
    """

    def __init__(self, dim: int, hidden_dims: Sequence[int]) -> None:
        """
        Args:
            dim: C of the patches.
            hidden_dims: one for each doubling.

        Raises:
            ValueError: there are none.
        """
        super().__init__()
        if not hidden_dims:
            raise ValueError(
                "the mask decoder has no layer; MODEL.RESTR.DECODER_DIMS has a number for each "
                "doubling of the resolution"
            )
        self.dim = dim
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 1, bias=False)
            for before, after in pairwise([2 * dim, *hidden_dims])
        )
        self.predictor = nn.Conv2d(hidden_dims[-1], 1, 1, bias=False)

    def forward(
        self,
        patches: Tensor,
        fused: Tensor,
        projection: Tensor,
        patch_logits: Tensor,
        image_of: Tensor,
        grid: tuple[int, int],
    ) -> Tensor:
        """
        Args:
            patches: (B, h * w, C), of the image alone.
            fused: (E, h * w, C), that have met the words.
            projection: (C, C), the matrix of a linear layer that ``fused`` has yet to go through.
            patch_logits: (E, h * w), which weigh what comes out of it.
            image_of: (E,) int64, the image of each expression.
            grid: (h, w).

        Returns:
            Mask logits (E, h * 2^L, w * 2^L).
        """
        of_image, of_expression = self.layers[0].weight.flatten(1).split(self.dim, dim=1)
        of_image = F.linear(patches, of_image)
        if is_recording():  # else the graph depends on whether there is one expression or more
            fused = fused.clone(memory_format=torch.contiguous_format)
        masked = patch_logits[..., None] * F.linear(fused, of_expression @ projection)
        is_loop = not torch.is_grad_enabled() and patches.device.type == "cpu"
        if is_loop and not is_recording():
            pairs = zip(of_image[image_of], masked, strict=True)
            return torch.stack([self._decode_one(one + other, grid) for one, other in pairs])
        features = (of_image.index_select(0, image_of) + masked).unflatten(1, grid)
        if is_recording():  # runtimes have an operator for resizing, and move no channels for it
            features = _double(features.permute(0, 3, 1, 2))
            for layer in self.layers[1:]:
                features = _double(layer(features))
            return self.predictor(features).squeeze(1)
        features = _double_by_products(features)
        for layer in self.layers[1:]:
            features = _double_by_products(F.linear(features, layer.weight.flatten(1)))
        return F.linear(features, self.predictor.weight.flatten(1)).squeeze(-1)

    def _decode_one(self, features: Tensor, grid: tuple[int, int]) -> Tensor:
        """One expression at inference on a CPU, (h * w, C): channels last, so that nothing is
        copied, and maps small enough for memory that was used before."""
        height, width = grid
        for layer in self.layers[1:]:
            features = _double(features.view(1, height, width, -1).permute(0, 3, 1, 2))
            height, width = 2 * height, 2 * width
            features = F.linear(features.permute(0, 2, 3, 1).flatten(0, 2), layer.weight.flatten(1))
        return self._predict_in_strips(features.view(height, width, -1))

    def _predict_in_strips(self, features: Tensor) -> Tensor:
        """The last doubling and the predictor, (h, w, C) -> (2h, 2w), a few rows at a time: all
        rows are four times as many numbers, whose cost is mostly that of fresh memory."""
        height, width = features.shape[:2]
        lines = features.flatten(1)
        matrix = _doubling_matrix(height).to(features)  # (2h, h)
        predictor = self.predictor.weight.flatten()
        strips = []
        for strip in _STRIP.slices(2 * height, 2 * lines.shape[1], lines.device, at_least=2):
            # the rows that the strip's lie between
            span = slice(max(strip.start // 2 - 1, 0), min(strip.stop // 2 + 2, height))
            rows = matrix[strip, span] @ lines[span]
            rows = rows.view(len(rows), 1, width, -1).permute(0, 3, 1, 2)  # (rows, C, 1, w)
            size = (1, 2 * width)
            wide = F.interpolate(rows, size, mode="bilinear", align_corners=True)
            wide = F.leaky_relu_(wide, _SLOPE)
            strips.append(wide.permute(0, 2, 3, 1).squeeze(1) @ predictor)
        return torch.cat(strips)


def _doubling_matrix(length: int) -> Tensor:
    """(2 * length, length): bilinear resizing of one axis with aligned corners."""
    unit = torch.eye(length)[None, None]
    size = (2 * length, length)
    return F.interpolate(unit, size, mode="bilinear", align_corners=True)[0, 0]


def _double_by_products(features: Tensor) -> Tensor:
    """(E, h, w, C) -> (E, 2h, 2w, C), channels last as linear layers have them: two products, whose
    gradients take half the time of those of torch's resizing on a CPU."""
    count, height, width, channels = features.shape
    rows, columns = (_doubling_matrix(n).to(features) for n in (height, width))
    features = (rows @ features.flatten(2)).view(count * 2 * height, width, channels)
    features = columns @ features
    return F.leaky_relu(features, _SLOPE).view(count, 2 * height, 2 * width, channels)


def _double(features: Tensor) -> Tensor:
    resized = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
    return F.leaky_relu(resized, _SLOPE, inplace=not torch.is_grad_enabled())
