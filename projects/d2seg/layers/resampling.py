"""Bilinear resizing, cropping, mirroring and the averaging of windows as one linear map per axis;
and the best class of each position.

Each of these is separable: rows and columns are mapped by a sparse matrix each, and maps that
follow one another are a product of matrices. So any tile of a result can be computed from the few
values below it, without the stages in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, with ``align_corners=False``: (N, C, h, w) or (N, h, w) floating point to
    (..., *size). Maps of that size already are returned themselves, not copied."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if maps.dim() == 3 and len(maps):
        # channels of one image: images of one channel take torch's channels-last kernels, which
        # need half as much time again, and twice as much for the gradient
        return resize(maps[None], size)[0]
    if maps.dim() == 3:
        return resize(maps[:, None], size)[:, 0]  # an image needs a channel
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class AxisStep:
    """Position p of the output is ``sum(weights[p] * input[indices[p]])``.

    indices: (n, 2) int64. weights: (n, 2), not negative, of sum 1 in each row.
    """

    indices: np.ndarray
    weights: np.ndarray

    def matrix(self, start: int, stop: int) -> tuple[np.ndarray, int]:
        """The matrix of output positions ``start`` to ``stop``, (stop - start, m), and the input
        position of its first column."""
        indices, weights = self.indices[start:stop], self.weights[start:stop]
        first = int(indices.min())
        matrix = np.zeros((len(indices), int(indices.max()) + 1 - first))
        rows = np.arange(len(indices))
        for tap in range(2):
            matrix[rows, indices[:, tap] - first] += weights[:, tap]
        return matrix, first


def resize_step(source: int, target: int) -> AxisStep:
    """Bilinear, with ``align_corners=False``."""
    positions = (np.arange(target) + 0.5) * (source / target) - 0.5
    positions = positions.clip(0, source - 1)
    below = np.floor(positions).astype(np.int64)
    above = np.minimum(below + 1, source - 1)
    share = positions - below
    return AxisStep(np.stack([below, above], 1), np.stack([1 - share, share], 1))


def flip_step(length: int) -> AxisStep:
    indices = np.arange(length)[::-1]
    return AxisStep(np.stack([indices, indices], 1), np.tile([1.0, 0.0], (length, 1)))


@dataclass(frozen=True)
class AxisTaps:
    """What a window gives to a tile along one axis: ``matrix`` (n, m) times the m values of its
    logits from ``first`` on."""

    window: int
    matrix: Tensor
    first: int

    @property
    def span(self) -> slice:
        return slice(self.first, self.first + self.matrix.shape[1])


class WindowAxis:
    """Maps the logits of windows along one axis of an image to positions of the result."""

    def __init__(
        self,
        *,
        offsets: Sequence[int],
        window_size: int,
        content_size: int,
        steps: Sequence[AxisStep] = (),
    ) -> None:
        """
        Args:
            offsets: where the windows begin, ascending; together they cover the content.
            window_size: of each, beyond the content where that is smaller.
            content_size: of the image that the windows are cut from.
            steps: from that image to the result, in this order.
        """
        self.offsets = offsets
        self.window_size = window_size
        self.content_size = content_size
        self.steps = steps
        self.counts = np.zeros(content_size)
        for offset in offsets:
            self.counts[offset : offset + window_size] += 1

    def taps(self, start: int, stop: int, logits_size: int, device: torch.device) -> list[AxisTaps]:
        """The taps of result positions ``start`` to ``stop``; windows without a share in them are
        left out, and the others' shares at each position add up to 1.

        Args:
            logits_size: of a window's logits along this axis.
        """
        outer, low = self._to_content(start, stop)
        high = low + outer.shape[1]
        found = []
        for number, offset in enumerate(self.offsets):
            begin, end = max(low, offset), min(high, offset + self.window_size)
            if begin >= end:
                continue
            inner, first = resize_step(logits_size, self.window_size).matrix(
                begin - offset, end - offset
            )
            shared = outer[:, begin - low : end - low] / self.counts[begin:end]
            matrix = torch.from_numpy((shared @ inner).astype(np.float32)).to(device)
            found.append(AxisTaps(number, matrix, first))
        return found

    def _to_content(self, start: int, stop: int) -> tuple[np.ndarray, int]:
        """(stop - start, n) from n positions of the content on, and the first of them."""
        outer, low = np.eye(stop - start), start
        for step in reversed(self.steps):
            matrix, first = step.matrix(low, low + outer.shape[1])
            outer, low = outer @ matrix, first
        return outer, low


def window_offsets(length: int, window_size: int, stride: int) -> list[int]:
    """Windows every ``stride``, the last one moved back to end where the image ends."""
    if length <= window_size:
        return [0]
    number = -((length - window_size) // -stride) + 1
    return [min(i * stride, length - window_size) for i in range(number)]


def argmax(scores: Tensor) -> Tensor:
    """The first best of K classes, (K, n, m) -> (n, m), overwriting the scores.

    ``max`` with indices takes more than three times as long as these steps do. The index is a
    product of matrices, with two digits of base 128, which are exact in every precision that a
    product may be set to.
    """
    is_best = scores.eq_(scores.amax(0))
    classes = torch.arange(len(scores), device=scores.device)
    digits = torch.stack([classes // 128, classes % 128, torch.ones_like(classes)])
    high, low, count = (digits.to(scores) @ is_best.flatten(1)).view(3, *scores.shape[1:])
    best = (128 * high + low).long()
    if not bool((count == 1).all()):  # ties, and NaN, which equals nothing
        unclear = count != 1
        best[unclear] = is_best[:, unclear].max(0)[1]
    return best


def last_argmax(scores: Tensor) -> Tensor:
    """The first best along the last dimension, (..., K) -> (...) int64.

    On a CPU numpy's, which compares eight numbers and more at a time where torch's compares one: a
    fifth of its time for 150 classes.
    """
    if scores.device.type != "cpu" or scores.dtype != torch.float32:
        return scores.argmax(-1)
    return torch.from_numpy(scores.detach().numpy().argmax(-1))
