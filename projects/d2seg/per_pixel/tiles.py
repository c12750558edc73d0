"""A tile of a result: scores or labels from the patches of logits below it.

K classes, (n, m) the tile, (h, w) a patch.
"""

import torch
from torch import Tensor

from ..layers.resampling import argmax

# (rows (n, h), logits (K, h, w), columns (m, w)): gives rows @ logits @ columns.T to the tile
Patch = tuple[Tensor, Tensor, Tensor]


def tile_scores(patches: list[list[Patch]]) -> Tensor:
    """(K, n, m) of a tile, from each view's patches."""
    if len(patches) == 1:
        return resample(patches[0])
    return sum(resample(of_view).softmax(0) for of_view in patches) / len(patches)


def tile_labels(patches: list[list[Patch]]) -> Tensor:
    """(n, m) of a tile, or (1, 1) where all of it is one class.

    Each score is a weighted mean of logits in the patches. So a class all of whose logits are below
    all those of another class wins nowhere in the tile, and is left out.
    """
    if len(patches) > 1:
        return argmax(tile_scores(patches))
    parts = [(rows, logits.contiguous(), columns) for rows, logits, columns in patches[0]]
    lowest = torch.stack([logits.flatten(1).amin(1) for _, logits, _ in parts]).amin(0)
    highest = torch.stack([logits.flatten(1).amax(1) for _, logits, _ in parts]).amax(0)
    # in this form, logits that are not a number leave nothing out
    candidates = (~(highest < lowest.max())).nonzero()[:, 0]
    if len(candidates) == 1:
        return candidates[:, None]
    few = [(rows, logits[candidates], columns) for rows, logits, columns in parts]
    return candidates[argmax(resample(few))]


def resample(patches: list[Patch]) -> Tensor:
    """(K, n, m), in fp32."""
    first, *others = (rows @ (logits.float() @ columns.T) for rows, logits, columns in patches)
    for other in others:
        first += other
    return first
