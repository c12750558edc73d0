"""The sum of multi-scale deformable attention as gathered rows, in a recorded graph of one size
(Zhu et al. 2021, equation 3).

B batch, N queries, S memory positions, M heads, D channels of a head, L levels, P points,
K = L * P.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .cells import levels_of

Pair = tuple[Tensor, Tensor]


def gathered_sum(
    value: Tensor,
    offsets: Pair,
    centres: Pair,
    weights: Tensor,
    spatial_shapes: list[tuple[int, int]],
) -> Tensor:
    """Weighted sum of values that are sampled bilinearly at ``centres + offsets``.

    As ``embedding_bag_sum`` computes it, in plain operators: rows are gathered, multiplied and
    summed. A runtime does that at once where it has a bag, and needs 4 K times the memory of the
    result where it has none. The graph holds the sizes of the example's levels.

    Pixels and rows are whole numbers, and fractions count from a pixel nearby: a runtime may
    compute in bf16 of its own accord, which tells no two numbers apart beyond 256.

    Args:
        value: (B, S, M, D).
        offsets: x and y, (B, N, M, K) each, in pixels of the levels.
        centres: x and y, (B or 1, N, 1, K) each, what they count from; 0 is the centre of the first
            pixel.
        weights: (B, N, M, L, P).

    Returns:
        (B, N, M * D), in the dtype of ``value``.
    """
    batch_size, num_positions, num_heads, _ = value.shape
    levels = levels_of(weights, spatial_shapes)
    first_x, *columns = _pair(offsets[0], centres[0], levels.last_x, levels.step_x)
    first_y, *lines = _pair(offsets[1], centres[1], levels.last_y, levels.step_y)
    # a pixel is M rows: (y * width + x) * M, and the row of the level's first pixel
    upper = first_y * levels.below + first_x * num_heads + levels.start
    if batch_size > 1:
        images = torch.arange(batch_size, dtype=torch.int32, device=value.device)
        upper = upper + (images * num_positions * num_heads)[:, None, None, None]
    lower = upper + levels.below
    rows = torch.stack([upper, upper + levels.right, lower, lower + levels.right], dim=3)
    lines = [share * weights.flatten(3) for share in lines]
    shares = torch.stack([line * column for line in lines for column in columns], dim=3)
    rows, shares = (part.flatten(3).flatten(0, 2) for part in (rows, shares))  # (B * N * M, 4 * K)
    gathered = F.embedding(rows, value.flatten(0, 2))  # (B * N * M, 4 * K, D)
    summed = (gathered * shares[..., None].to(value.dtype)).sum(1)
    return summed.unflatten(0, (batch_size, -1, num_heads)).flatten(2)


def _pair(
    offset: Tensor, centre: Tensor, last: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """First pixel of the pair around each position, and the shares of both, 0 to 1."""
    start = centre.floor()
    moved = offset + (centre - start)
    floor = moved.floor()
    pixel = start.int() + floor.int()
    first = torch.minimum(pixel.clamp(min=0), last)
    distance = (moved - floor) + (pixel - first).to(moved.dtype)
    return first, _hat(distance), _hat(distance - step)


def _hat(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)
