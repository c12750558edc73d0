"""Swin's stages as recorded graphs hold them (Liu et al. 2021, sections 3.1 and 3.2): detectron2's
modules on maps whose sizes may be symbols, where its own ``forward`` pads and masks by numbers of
the example.

B batch, C channels, (H, W) a map, S the side of a window, (h, w) windows of a map.
"""

import torch
from detectron2.modeling.backbone.swin import BasicLayer, SwinTransformerBlock
from torch import Tensor
from torch.nn import functional as F

_MASKED = -100.0  # added to the logits of pairs that are no neighbours in the picture, as published
Grid = tuple[int, int]


def is_recording() -> bool:
    """As ``layers.recording``; backbones import nothing of the package, so as to add no floor
    (docs/architecture.md)."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def stage_on_map(layer: BasicLayer, features: Tensor) -> Tensor:
    """The blocks of a stage, (B, H, W, C) -> (B, H, W, C); without the merging of patches."""
    side = layer.window_size
    height, width = features.shape[1:3]
    grid = ((height + side - 1) // side, (width + side - 1) // side)
    mask = _shift_mask(grid, side, layer.shift_size, features)
    for block in layer.blocks:
        attended = _attend(block, block.norm1(features), grid, mask)
        features = features + attended
        features = features + block.mlp(block.norm2(features))
    return features


def merge_patches(layer: BasicLayer, features: Tensor) -> Tensor:
    """(B, H, W, C) with even sides -> (B, H / 2, W / 2, 2C)."""
    pairs = features.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (B, H / 2, 2, W / 2, 2, C)
    # four neighbours' channels: the upper left, the lower left, then those at their right
    joined = pairs.permute(0, 1, 3, 4, 2, 5).flatten(3)
    merging = layer.downsample
    return merging.reduction(merging.norm(joined))


def _attend(block: SwinTransformerBlock, features: Tensor, grid: Grid, mask: Tensor) -> Tensor:
    """Attention within windows, shifted by half of one in every other block."""
    side, shift = block.window_size, block.shift_size
    height, width = features.shape[1:3]
    right, below = grid[1] * side - width, grid[0] * side - height
    features = F.pad(features, (0, 0, 0, right, 0, below))
    if shift:
        features = features.roll((-shift, -shift), (1, 2))
    windows = block.attn(_to_windows(features, grid, side), mask if shift else None)
    features = _from_windows(windows, grid, side)
    if shift:
        features = features.roll((shift, shift), (1, 2))
    # not cut with a slice, whose length is the lesser of two symbols
    rows, columns = (torch.arange(n, device=features.device) for n in (height, width))
    return features.index_select(1, rows).index_select(2, columns)


def _to_windows(features: Tensor, grid: Grid, side: int) -> Tensor:
    """(B, h * S, w * S, C) -> (B * h * w, S * S, C)."""
    windows = features.unflatten(2, (grid[1], side)).unflatten(1, (grid[0], side))
    return _copy(windows.transpose(2, 3)).flatten(3, 4).flatten(0, 2)


def _from_windows(windows: Tensor, grid: Grid, side: int) -> Tensor:
    """The reverse of :func:`_to_windows`."""
    features = windows.unflatten(1, (side, side)).unflatten(0, (-1, *grid))
    return _copy(features.transpose(2, 3)).flatten(3, 4).flatten(1, 2)


def _copy(features: Tensor) -> Tensor:
    """In order of its axes, which otherwise depends on whether there is one window or more."""
    return features.clone(memory_format=torch.contiguous_format)


def _shift_mask(grid: Grid, side: int, shift: int, like: Tensor) -> Tensor:
    """(h * w, S * S, S * S), what is added to the logits in shifted windows: those of the last row
    and column hold strips from opposite edges of the map, which do not attend to each other."""

    def strips(count: int) -> Tensor:  # (count * S,), 1 behind the last shift
        place = torch.arange(count * side, device=like.device)
        return (place >= count * side - shift).to(like.dtype)

    rows, columns = strips(grid[0])[:, None], strips(grid[1])[None, :]
    strip = _to_windows((2 * rows + columns)[None, :, :, None], grid, side)  # (h * w, S * S, 1)
    return (strip != strip.mT) * _MASKED
