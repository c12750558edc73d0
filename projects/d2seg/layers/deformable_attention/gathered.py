"""The sum of multi-scale deformable attention as gathered rows, in a recorded graph of one size
(Zhu et al. 2021, equation 3).

B batch, N queries, S memory positions, M heads, D channels of a head, L levels, P points,
K = L * P.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .cells import cells_of, image_starts, levels_of


def gathered_sum(
    value: Tensor, x: Tensor, y: Tensor, weights: Tensor, spatial_shapes: list[tuple[int, int]]
) -> Tensor:
    """Weighted sum of bilinearly sampled values; arguments and result as of ``grid_sample_sum``.

    As ``embedding_bag_sum`` computes it, in plain operators: rows are gathered, multiplied and
    summed. A runtime does that at once where it has a bag, and needs 4 K times the memory of the
    result where it has none. The graph holds the sizes of the example's levels.
    """
    dtype = torch.promote_types(value.dtype, torch.float32)
    x, y, weights = (points.to(dtype) for points in (x, y, weights))
    # as floats, whose arithmetic runtimes join into one pass; exact for up to 2 ** 24 rows, of
    # pictures of 10,000 pixels square
    levels = levels_of(x, spatial_shapes, dtype)
    x, y, weights = (points.flatten(0, 1).flatten(2) for points in (x, y, weights))
    cells = cells_of(x, y, levels, image_starts(value, len(x)))
    rows = cells.rows.to(torch.int32).flatten(2).flatten(0, 1)  # (B * N * M, 4 * K)
    shares = cells.weights(weights).flatten(2).flatten(0, 1)
    gathered = F.embedding(rows, value.to(dtype).flatten(0, 2))  # (B * N * M, 4 * K, D)
    summed = (gathered * shares[..., None]).sum(1)
    return summed.unflatten(0, (value.shape[0], -1, value.shape[2])).flatten(2).to(value.dtype)
