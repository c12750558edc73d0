"""Sampling of maps at points, one row of channels per point: the layout of an MLP's input.

N maps, C channels, (H, W) the size of a map, P points. Coordinates are those of ``point_sample``.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from .point_sample import point_sample
from .recording import is_recording


def point_rows(features: Tensor, coords: Tensor) -> Tensor:
    """Bilinear values of maps at points, zeros outside: ``point_sample`` with the channels last.

    On a CPU, where no gradient is asked for, whole rows are gathered: ``grid_sample`` would read
    single numbers from as many places as there are channels. Maps that are sampled repeatedly are
    then best given in :func:`sampling_format`, or each call would lay them out anew.

    Args:
        features: (N, C, H, W) floating point.
        coords: (N, P, 2) in fp32, may lie outside [0, 1].

    Returns:
        (N, P, C) in fp32.
    """
    wants_grad = torch.is_grad_enabled() and features.requires_grad
    if is_recording() or features.device.type != "cpu" or wants_grad or not coords.numel():
        return point_sample(features, coords).transpose(1, 2)
    num, channels, height, width = features.shape
    rows = sampling_format(features).permute(0, 2, 3, 1).reshape(-1, channels)
    pixels = coords * coords.new_tensor([width, height])
    indices, weights = bilinear_corners(pixels, height, width)
    indices += torch.arange(num, dtype=indices.dtype)[:, None, None] * (height * width)
    sampled = F.embedding_bag(
        indices.flatten(0, 1), rows, per_sample_weights=weights.flatten(0, 1), mode="sum"
    )
    return sampled.unflatten(0, coords.shape[:2])


def sampling_format(features: Tensor) -> Tensor:
    """(N, C, H, W) as ``point_rows`` reads it on a CPU: fp32 and channels-last in memory."""
    if is_recording() or features.device.type != "cpu":
        return features
    return features.float().contiguous(memory_format=torch.channels_last)


def bilinear_corners(pixels: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Indices (N, P, 4) into H * W of the cells around each point, and their weights; those of
    cells outside of the map are 0, and so are those of points that are not finite.

    ``pixels``: (N, P, 2) coordinates, (width, height) being the far corner of the map.
    """
    x, y = (pixels - 0.5).unbind(-1)  # in cells: 0 is the centre of the first
    left, top = x.floor(), y.floor()
    columns = torch.stack([left, left + 1, left, left + 1], dim=-1)
    lines = torch.stack([top, top, top + 1, top + 1], dim=-1)
    weights = (1 - (x[..., None] - columns).abs()) * (1 - (y[..., None] - lines).abs())
    inside = (columns >= 0) & (columns < width) & (lines >= 0) & (lines < height)
    # integers before the product: fp32 is exact up to 2^24 cells only
    columns, lines = (torch.where(inside, cells, 0).long() for cells in (columns, lines))
    return lines * width + columns, torch.where(inside, weights, 0.0)
