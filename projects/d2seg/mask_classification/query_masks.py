"""Mask predictions kept as the product that they are: a query's embedding times the per-pixel
embedding (Cheng et al. 2021, section 3.3).

Matching needs all masks at a few points, the losses the matched ones, inference the confident
ones: each computes what it needs, and no map of all layers and queries is ever made.

L layers, B images, Q queries, C channels, (h, w) the masks' resolution.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageMasks:
    """Mask logits of N queries of one image; an index selects among the queries.

    embeddings: (N, C). features: (C, h, w).
    """

    embeddings: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, index: slice | Tensor) -> "ImageMasks":
        return ImageMasks(self.embeddings[index], self.features)

    @property
    def device(self) -> torch.device:
        return self.features.device

    def logits(self) -> Tensor:
        """(N, h, w)."""
        return _product(self.embeddings, self.features)


@dataclass(frozen=True)
class QueryMasks:
    """Mask logits of every layer, image and query.

    embeddings: (L, B, Q, C). features: (B, C, h, w).
    """

    embeddings: Tensor
    features: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return tuple(self.features.shape[-2:])

    def last_layer(self, image: int) -> ImageMasks:
        return ImageMasks(self.embeddings[-1, image], self.features[image])

    def all(self) -> Tensor:
        """(L, B, Q, h, w)."""
        return torch.einsum("lbqc,bchw->lbqhw", self.embeddings, self.features)

    def matched(self, image: int, queries: Tensor) -> Tensor:
        """Masks of other queries at each layer. queries: (L, T) indices -> (L, T, h, w)."""
        layers = torch.arange(len(queries), device=queries.device)[:, None]
        return _product(self.embeddings[layers, image, queries], self.features[image])


def _product(embeddings: Tensor, features: Tensor) -> Tensor:
    """(..., C), (C, h, w) -> (..., h, w)."""
    return (embeddings @ features.flatten(1)).unflatten(-1, features.shape[-2:])
