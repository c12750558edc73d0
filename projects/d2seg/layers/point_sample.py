"""Sampling of maps at points and the choice of uncertain points (PointRend, Kirillov et al. 2020,
sections 3.1, 4.1 and 5).

N maps (regions of instances, or images), C channels, (H, W) the size of a map, P points.
Coordinates are fp32, (x, y) in [0, 1] x [0, 1] over the whole map: (0, 0) is the top left corner
of the first cell, not its centre, and (1, 1) the bottom right corner of the last; the centre of
cell (row, column) is ((column + 0.5) / W, (row + 0.5) / H).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .chunking import budget
from .recording import is_recording

_PIXELS_AT_ONCE = budget(1 << 22)  # masks are converted to float in pieces of 16 MiB


def point_sample(features: Tensor, coords: Tensor) -> Tensor:
    """Bilinear values of maps at points; outside of the map there are zeros.

    Within half a cell of the border, values therefore fade into the zeros outside.

    Args:
        features: (N, C, H, W) floating point.
        coords: (N, P, 2), may lie outside [0, 1].

    Returns:
        (N, C, P) of the coordinates' dtype. Half precision maps are sampled in fp32, because a
        half precision coordinate would be off by whole cells.
    """
    grid = 2 * coords[:, :, None] - 1  # (N, P, 1, 2) in grid_sample's [-1, 1]
    features = features.to(grid.dtype)
    return F.grid_sample(features, grid, mode="bilinear", align_corners=False)[..., 0]


@torch.no_grad()
def sample_binary_masks(masks: Tensor, coords: Tensor) -> Tensor:
    """Bilinear values of bool masks at points, equal to :func:`point_sample` of ``masks.float()``.

    A few masks at a time are converted, because a float copy takes four times the memory of its
    mask, and an image may have hundreds.

    Args:
        masks: (N, H, W) bool.
        coords: (N, P, 2), or (1, P, 2) for the same points in every mask.

    Returns:
        (N, P) in [0, 1], of the coordinates' dtype.
    """
    coords = coords.expand(len(masks), -1, -1)
    values = coords.new_empty(coords.shape[:2])
    for part in _PIXELS_AT_ONCE.slices(len(masks), masks.shape[1:].numel(), masks.device):
        values[part] = point_sample(masks[part, None].to(coords.dtype), coords[part])[:, 0]
    return values


def regular_grid_coords(num: int, side: int, device: torch.device | str) -> Tensor:
    """Centres of a ``side`` x ``side`` grid, row by row, ``num`` times: (num, side * side, 2)."""
    centres = (torch.arange(side, dtype=torch.float32, device=device) + 0.5) / side
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1).expand(num, -1, -1)


def mask_uncertainty(logits: Tensor) -> Tensor:
    """Closeness of a mask's probability to one half: -|logit|, at most 0 (section 4.1).

    (N, 1, P) -> (N, P). A class-specific head passes the channel of the class alone.
    """
    return -logits.squeeze(1).abs()


def semantic_uncertainty(logits: Tensor) -> Tensor:
    """Second best minus best class score, at most 0 (section 5). (N, C >= 2, P) -> (N, P)."""
    best, second = logits.topk(2, dim=1).values.unbind(1)
    return second - best


def check_sampling_ratios(oversample_ratio: float, importance_ratio: float) -> None:
    """Check the ratios, when a model is built.

    Raises:
        ValueError: ``oversample_ratio`` below 1 or ``importance_ratio`` outside [0, 1].
    """
    if oversample_ratio < 1 or not 0 <= importance_ratio <= 1:
        raise ValueError(
            "the oversampling ratio of points must be at least 1 and the share of uncertain ones "
            f"in [0, 1], got {oversample_ratio} and {importance_ratio}"
        )


@torch.no_grad()
def uncertain_point_coords(
    logits: Tensor,
    uncertainty: Callable[[Tensor], Tensor],
    num_points: int,
    oversample_ratio: float,
    importance_ratio: float,
    extent: Tensor | float = 1.0,
) -> Tensor:
    """Random points biased towards uncertain ones, for training (section 3.1).

    Of ``oversample_ratio * num_points`` uniformly random points, the most uncertain
    ``importance_ratio * num_points`` stay; uniformly random points fill up to ``num_points``.
    Uncertainty is that of the sampled prediction: between predictions -1 and 1 lies a 0, which
    is uncertain, although its neighbours are not.

    Args:
        logits: (N, C, H, W). No gradient flows through the choice.
        uncertainty: (N, C, P) logits at points -> (N, P), larger is less certain.
        num_points: P, may exceed H * W since points are continuous.
        extent: sides of the top left part of the map that points are drawn from, in [0, 1],
            broadcast against (N, P, 2); excludes padding.

    Returns:
        (N, P, 2), coordinates over the whole map; the uncertain points come first.

    Raises:
        ValueError: see :func:`check_sampling_ratios`.
    """
    check_sampling_ratios(oversample_ratio, importance_ratio)
    num_uncertain = int(importance_ratio * num_points)
    num_drawn = int(oversample_ratio * num_points)
    candidates = torch.rand(len(logits), num_drawn, 2, device=logits.device) * extent
    scores = uncertainty(point_sample(logits, candidates))
    chosen = scores.topk(num_uncertain, dim=1, sorted=False).indices  # (N, num_uncertain)
    uncertain = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
    num_uniform = num_points - num_uncertain
    uniform = torch.rand(len(logits), num_uniform, 2, device=logits.device) * extent
    return torch.cat([uncertain, uniform], dim=1)


def most_uncertain_cells(uncertainty: Tensor, num_points: int) -> tuple[Tensor, Tensor]:
    """The cells to refine in one subdivision step at inference (section 3.1).

    Args:
        uncertainty: (N, H, W), larger is less certain.
        num_points: bounded by H * W.

    Returns:
        Indices (N, P) int64 into H * W, most uncertain first, and the cells' centres (N, P, 2).
    """
    height, width = uncertainty.shape[-2:]
    flat = uncertainty.flatten(1)
    indices = flat.topk(min(num_points, height * width), dim=1).indices
    rows = indices // width
    columns = indices - rows * width  # no remainder, which ONNX has not by a width that varies
    cells = torch.stack([columns, rows], dim=-1)  # (N, P, 2) as (x, y)
    if is_recording():  # no tensor of sizes, which would hold the example's
        x, y = (cells + 0.5).unbind(-1)
        return indices, torch.stack([x / width, y / height], dim=-1)
    size = torch.tensor([width, height], dtype=torch.float32, device=uncertainty.device)
    return indices, (cells + 0.5) / size
