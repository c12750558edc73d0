"""The sum of multi-scale deformable attention, in plain PyTorch (Zhu et al. 2021, equation 3).

Every implementation takes the same arguments and equals this one under test.

B batch, N queries, S memory positions of all levels one after the other, each level row by row,
M heads, D channels of a head, L levels, P points.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def grid_sample_sum(
    value: Tensor, x: Tensor, y: Tensor, weights: Tensor, spatial_shapes: list[tuple[int, int]]
) -> Tensor:
    """Sum over levels and points of the weighted, bilinearly sampled values.

    Args:
        value: (B, S, M, D), S = sum of height x width over the levels.
        x, y: (B, N, M, L, P), in pixels of the point's level; 0 is the centre of the first pixel.
            Outside of its level the value is zero.
        weights: (B, N, M, L, P).
        spatial_shapes: (height, width) of each level.

    Returns:
        (B, N, M * D) in the dtype of ``value``, computed in fp32 at least: bf16 has too few digits
        for coordinates.
    """
    dtype = torch.promote_types(value.dtype, torch.float32)
    levels = value.to(dtype).split([height * width for height, width in spatial_shapes], dim=1)
    sampled = []
    for level, (height, width) in enumerate(spatial_shapes):
        # align_corners=False: -1 and 1 are the outer edges of the first and the last pixel
        edges_x = (x[..., level, :] + 0.5) * (2 / width) - 1
        edges_y = (y[..., level, :] + 0.5) * (2 / height) - 1
        grid = torch.stack([edges_x, edges_y], dim=-1).to(dtype)  # (B, N, M, P, 2)
        image = levels[level].permute(0, 2, 3, 1).flatten(0, 1).unflatten(2, (height, width))
        sampled.append(
            F.grid_sample(image, grid.transpose(1, 2).flatten(0, 1), align_corners=False)
        )  # (B * M, D, N, P)
    per_head = weights.to(dtype).transpose(1, 2).flatten(0, 1).flatten(2)  # (B * M, N, L * P)
    summed = (torch.cat(sampled, dim=-1) * per_head[:, None]).sum(-1)  # (B * M, D, N)
    summed = summed.unflatten(0, x.shape[:1] + x.shape[2:3]).permute(0, 3, 1, 2).flatten(2)
    return summed.to(value.dtype)
