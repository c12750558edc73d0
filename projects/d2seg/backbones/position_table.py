"""Learned positions of a grid of patches, for grids of other sizes.

N = h * w patches in rows, C channels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

Grid = tuple[int, int]


def resize_positions(table: Tensor, own: Grid, grid: Grid) -> Tensor:
    """Bilinear, with ``align_corners=False``, in fp32: (1, N, C) of the grid ``own`` to those of
    ``grid``; the table itself where both are the same.

    timm's ``resample_abs_pos_embed`` takes, up to 1.0.20, a table of 4 x 16 for one of 8 x 8.
    """
    # a comparison would fix the size of a graph for all sizes; resized to its own it stays as it is
    is_symbolic = any(isinstance(side, torch.SymInt) for side in grid)
    if not is_symbolic and tuple(grid) == tuple(own):
        return table
    maps = table.float().unflatten(1, tuple(own)).permute(0, 3, 1, 2)
    maps = F.interpolate(maps, size=tuple(grid), mode="bilinear", align_corners=False)
    return maps.flatten(2).transpose(1, 2).to(table.dtype)
