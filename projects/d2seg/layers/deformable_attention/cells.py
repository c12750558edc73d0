"""Index arithmetic of bilinear sampling: between which four pixels a point lies, and how near.

Bilinear interpolation weighs pixel i at the coordinate x by the hat max(0, 1 - |x - i|), also
outside of the image: with each pair of pixels moved inside, nothing is left to mask.

M heads, L levels, P points, K = L * P, n queries. A row is a head of a memory position. The four
pixels of a cell are ordered upper left, upper right, lower left, lower right.
"""

from typing import NamedTuple

import torch
from torch import Tensor

# Where a level is one pixel wide, the second pixel of a pair: its hat is zero everywhere.
_OUT_OF_REACH = 1e30


class Levels(NamedTuple):
    """What each of a query's points needs to know of its level, (M, K); whole numbers but for the
    steps."""

    last_x: Tensor  # the largest first pixel of a pair
    last_y: Tensor
    step_x: Tensor  # pixels from the first to the second of a pair
    step_y: Tensor
    right: Tensor  # rows from a pixel to its right neighbour
    below: Tensor  # rows from a pixel to the one below
    start: Tensor  # row of the level's first pixel, of the point's head


def levels_of(x: Tensor, spatial_shapes: list[tuple[int, int]]) -> Levels:
    """The levels of the points ``x`` (B, N, M, L, P), on their device; whole numbers are int32."""
    num_heads, _, num_points = x.shape[2:]

    def per_point(per_level: list[list[float]], dtype: torch.dtype) -> Tensor:
        numbers = torch.tensor(per_level, dtype=dtype, device=x.device)  # (X, L)
        return numbers.repeat_interleave(num_points, dim=1)[:, None].repeat(1, num_heads, 1)

    areas = [height * width for height, width in spatial_shapes]
    last_x, last_y, right, below, start = per_point(
        [
            [max(width - 2, 0) for _, width in spatial_shapes],
            [max(height - 2, 0) for height, _ in spatial_shapes],
            [num_heads if width > 1 else 0 for _, width in spatial_shapes],
            [num_heads * width if height > 1 else 0 for height, width in spatial_shapes],
            [sum(areas[:level]) * num_heads for level in range(len(areas))],
        ],
        torch.int32,
    )
    step_x, step_y = per_point(
        [
            [1.0 if width > 1 else _OUT_OF_REACH for _, width in spatial_shapes],
            [1.0 if height > 1 else _OUT_OF_REACH for height, _ in spatial_shapes],
        ],
        x.dtype,
    )
    start = start + torch.arange(num_heads, dtype=torch.int32, device=x.device)[:, None]
    return Levels(last_x, last_y, step_x, step_y, right, below, start)


class Cells(NamedTuple):
    rows: Tensor  # int32, (n, M, 4, K)
    distances: list[Tensor]  # signed, (n, M, K) each, to the left, right, upper and lower pixels

    def negative_hats(self) -> list[Tensor]:
        """-max(0, 1 - |distance|). In the product of an x and a y factor the signs cancel."""
        return [distance.abs().sub_(1).clamp_(max=0) for distance in self.distances]

    def slopes(self) -> list[Tensor]:
        """Derivatives of the negative hats; from the right at a kink, as in ``grid_sample``."""
        slopes = []
        for distance in self.distances:
            side = distance.floor().add_(0.5)  # -0.5 where the hat rises, 0.5 where it falls
            slopes.append(side.masked_fill_(side.abs() > 1, 0).mul_(2))
        return slopes

    def weights(self, attention: Tensor) -> Tensor:
        """Bilinear x attention weights (n, M, K) of the rows, (n, M, 4, K)."""
        left, right, upper, lower = self.negative_hats()
        upper.mul_(attention)
        lower.mul_(attention)
        return torch.stack(
            [upper * left, upper.mul_(right), lower * left, lower.mul_(right)], dim=2
        )


def cells_of(x: Tensor, y: Tensor, levels: Levels, first_rows: Tensor) -> Cells:
    """Cells of the pixel coordinates ``x`` and ``y``, (n, M, K) each, in images that begin at
    ``first_rows``, int32 (n,)."""
    first_x, left, right = _pair(x, levels.last_x, levels.step_x)
    first_y, upper, lower = _pair(y, levels.last_y, levels.step_y)
    # a pixel is M rows: (y * width + x) * M, and the row of the level's first pixel
    first = first_y.mul_(levels.below).add_(first_x, alpha=x.shape[1]).add_(levels.start)
    first += first_rows[:, None, None]
    below = first + levels.below
    rows = torch.stack([first, first + levels.right, below, below + levels.right], dim=2)
    return Cells(rows, [left, right, upper, lower])


def image_starts(values: Tensor, num_queries: int) -> Tensor:
    """(n,) int32, the row where each query's image begins; values: (G, S, M, D) of the group."""
    starts = torch.arange(len(values), dtype=torch.int32, device=values.device)
    return (starts * values.shape[1:3].numel()).repeat_interleave(num_queries // len(values))


def _pair(position: Tensor, last: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First pixel of the pair around each position, and the distances to both.

    Bounded as integers, NaN and infinity, too, have a pixel that exists.
    """
    first = position.to(torch.int32).clamp_(min=0)
    first = torch.minimum(first, last, out=first)
    distance = position - first.to(position.dtype)
    return first, distance, distance - step
