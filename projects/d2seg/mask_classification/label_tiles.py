"""The semantic label map of queries (Cheng et al. 2021, section 3.4), tile by tile.

Pixels come first and queries or classes last, as feature maps lie on a CPU: resizing is a product
of matrices for each axis, and the winner of a pixel is looked for in consecutive numbers. On a CPU
a tile leaves out each class that cannot win in it.

Q queries, K classes, (h, w) the masks, (m, m') the part of the scores that a tile of (n, n') labels
is resized from, (p, p') the cells of the masks below.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..layers.fused import linear
from ..layers.resampling import last_argmax, resize_step
from .mask_resizer import STRIP, MaskResizer
from .query_masks import ImageMasks

_ROUNDING = 1e-5  # of a score; a bound that much below is below


def semantic_labels(
    pred_logits: Tensor, pred_masks: ImageMasks, resize: MaskResizer, output_size: tuple[int, int]
) -> Tensor:
    """The class of greatest score at each pixel, without all classes' scores at image size.

    As published, scores are made at the size of the model's input and then resized.

    Args:
        pred_logits: (Q, K+1). pred_masks: Q of (h, w).
        resize: from the masks to where the scores are made.
        output_size: (height, width) of the result.

    Returns:
        (*output_size) int32.
    """
    probs = pred_logits.float().softmax(-1)[:, :-1]
    masks = pred_masks.logits().permute(1, 2, 0).float().contiguous()  # (h, w, Q)
    axes = [
        _tile_axis(*sizes, _tile_side(probs, resize.final_size, output_size), masks.device)
        for sizes in zip(
            masks.shape[:2], resize.padded_size, resize.final_size, output_size, strict=True
        )
    ]
    labels = torch.empty(output_size, dtype=torch.int32, device=masks.device)
    for rows in axes[0]:
        for columns in axes[1]:
            labels[rows.labels, columns.labels] = _tile_labels(probs, masks, rows, columns)
    return labels


class _Span(NamedTuple):
    """A tile's extent along one axis.

    labels: (n of them). cells: of the masks, (p). to_scores: (m, p). to_labels: (n, m), ``None``
    where scores and labels have one size.
    """

    labels: slice
    cells: slice
    to_scores: Tensor
    to_labels: Tensor | None


def _tile_side(probs: Tensor, score_size: tuple[int, int], label_size: tuple[int, int]) -> int:
    """Of the labels of a tile: so that masks and scores of its pixels stay within the budget."""
    shrinking = max(
        1.0, *(score / label for score, label in zip(score_size, label_size, strict=True))
    )
    return max(1, int(math.isqrt(STRIP.count(max(probs.shape), probs.device)) / shrinking))


def _tile_axis(
    num_cells: int, padded: int, num_scores: int, num_labels: int, side: int, device: torch.device
) -> list[_Span]:
    """The tiles of one axis: ``num_cells`` of the masks cover ``padded`` pixels, the first
    ``num_scores`` of which are resized to ``num_labels``."""
    from_cells, to_labels = resize_step(num_cells, padded), resize_step(num_scores, num_labels)
    spans = []
    for start in range(0, num_labels, side):
        labels = slice(start, min(start + side, num_labels))
        outer, scores = None, labels
        if num_scores != num_labels:
            matrix, first = to_labels.matrix(labels.start, labels.stop)
            outer = torch.from_numpy(matrix).float().to(device)
            scores = slice(first, first + matrix.shape[1])
        matrix, first = from_cells.matrix(scores.start, scores.stop)
        cells = slice(first, first + matrix.shape[1])
        spans.append(_Span(labels, cells, torch.from_numpy(matrix).float().to(device), outer))
    return spans


def _tile_labels(probs: Tensor, masks: Tensor, rows: _Span, columns: _Span) -> Tensor:
    """(n, n') of a tile, or () where all of it is one class. probs: (Q, K). masks: (h, w, Q)."""
    cells = masks[rows.cells, columns.cells]  # (p, p', Q)
    classes = None
    if masks.device.type == "cpu":
        classes = _possible_winners(probs, cells)
        if len(classes) == 1:
            return classes[0]
        probs = probs[:, classes]
    scores = _resized(cells, rows.to_scores, columns.to_scores).sigmoid_()  # (m, m', Q)
    scores = linear(scores, probs.T.contiguous())  # (m, m', K)
    if rows.to_labels is not None or columns.to_labels is not None:
        scores = _resized(scores, rows.to_labels, columns.to_labels)
    best = last_argmax(scores)
    return best if classes is None else classes[best]


def _possible_winners(probs: Tensor, cells: Tensor) -> Tensor:
    """Indices of the classes that may have the greatest score somewhere in a tile.

    Each of its pixels is a weighted mean of cells, so that each mask's probabilities lie between
    those of its lowest and its highest cell, and a class's scores between two sums.
    """
    cells = cells.flatten(0, 1)
    lowest, highest = cells.amin(0).sigmoid_() @ probs, cells.amax(0).sigmoid_() @ probs  # (K,)
    # in this form, what is not a number leaves nothing out
    return (~(highest < lowest.max() - _ROUNDING)).nonzero()[:, 0]


def _resized(maps: Tensor, rows: Tensor | None, columns: Tensor | None) -> Tensor:
    """(p, p', C) -> (n, n', C) by matrices (n, p) and (n', p'); ``None`` leaves an axis."""
    if rows is not None:
        maps = (rows @ maps.flatten(1)).unflatten(1, maps.shape[1:])
    return maps if columns is None else columns @ maps
