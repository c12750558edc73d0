"""Semantic scores of a tile, made where they are asked for.

The scores of K classes at a tile's size would be kept for two rows of tiles; the masks of its
queries, at their own resolution, are a small part of that.

Q queries, K classes, (h, w) the masks, (H, W) the tile.
"""

import torch
from torch import Tensor

from ..layers.resampling import resize_step
from ..mask_classification.segmentor import ImageQueries


class QueryScores:
    """In place of a tensor (K, H, W) of which parts are read, each once or nearly so."""

    def __init__(self, queries: ImageQueries) -> None:
        """``queries``: of a tile."""
        self._probs = queries.logits.float().softmax(-1)[:, :-1].T.contiguous()  # (K, Q)
        # not the queries: the maps that their masks are made of are several times as large
        self._masks = queries.masks.logits()  # (Q, h, w)
        self._steps = [
            resize_step(length, padded)
            for length, padded in zip(self._masks.shape[-2:], queries.padded_size, strict=True)
        ]
        self.shape = (len(self._probs), *queries.content_size)

    @property
    def device(self) -> torch.device:
        return self._masks.device

    @property
    def is_cuda(self) -> bool:
        return self._masks.is_cuda

    def __len__(self) -> int:
        return len(self._probs)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> Tensor:
        """(K, n, m) of all classes, n rows and m columns."""
        _, *spans = index
        masks, matrices = self._masks, []
        for axis, (span, step) in enumerate(zip(spans, self._steps, strict=True)):
            matrix, first = step.matrix(span.start, span.stop)
            masks = masks.narrow(axis + 1, first, matrix.shape[1])
            matrices.append(torch.from_numpy(matrix).float().to(masks.device))
        rows, columns = matrices
        probs = (rows @ masks.float() @ columns.T).sigmoid_()  # (Q, n, m)
        return (self._probs @ probs.flatten(1)).unflatten(1, probs.shape[1:])
