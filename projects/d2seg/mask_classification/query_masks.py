"""Mask predictions kept as the product that they are: a query's embedding times the per-pixel
embedding (Cheng et al. 2021, section 3.3).

Matching needs all masks at a few points, the losses the matched ones, inference the confident
ones: each computes what it needs, and no map of all layers and queries is ever made.

The convolution that makes the per-pixel embedding is linear, and the product with a query's
embedding is so too: at inference one convolution, with a kernel for each mask, does both.

L layers, B images, Q queries, C channels, (h, w) the masks' resolution.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class ImageMasks:
    """Mask logits of N queries of one image; an index selects among the queries.

    embeddings: (N, C). maps: (C, h, w), the per-pixel embedding, or, with a ``projection``, what
    that makes the embedding of.
    """

    embeddings: Tensor
    maps: Tensor
    projection: nn.Conv2d | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, index: slice | Tensor) -> "ImageMasks":
        return ImageMasks(self.embeddings[index], self.maps, self.projection)

    @property
    def device(self) -> torch.device:
        return self.maps.device

    def logits(self) -> Tensor:
        """(N, h, w)."""
        projection = self.projection
        if projection is None:
            return _product(self.embeddings, self.maps)
        if not len(self):  # which a convolution refuses
            return self.maps.new_empty(0, *self.maps.shape[-2:])
        # multiplied in fp32: a kernel is rounded once, as the convolution's own; and autocast may
        # have left embeddings and maps in different types
        embeddings = self.embeddings.float()
        kernels = torch.einsum("nc,cikl->nikl", embeddings, projection.weight.float())
        bias = None if projection.bias is None else embeddings @ projection.bias.float()
        dtype = self.maps.dtype
        return F.conv2d(
            self.maps[None],
            kernels.to(dtype),
            None if bias is None else bias.to(dtype),
            padding=projection.padding,
        )[0]


class GivenMasks(ImageMasks):
    """Mask logits of N queries of one image that are at hand, as an exported model gives them."""

    def __init__(self, masks: Tensor) -> None:
        """``masks``: (N, h, w)."""
        super().__init__(embeddings=masks, maps=masks)

    def __getitem__(self, index: slice | Tensor) -> "GivenMasks":
        return GivenMasks(self.maps[index])

    def logits(self) -> Tensor:
        """(N, h, w), a copy."""
        return self.maps.clone()


@dataclass(frozen=True)
class QueryMasks:
    """Mask logits of every layer, image and query.

    embeddings: (L, B, Q, C). maps: (B, C, h, w), the per-pixel embedding, or, with a
    ``projection``, what that makes the embedding of.
    """

    embeddings: Tensor
    maps: Tensor
    projection: nn.Conv2d | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return tuple(self.maps.shape[-2:])

    @property
    def features(self) -> Tensor:
        """(B, C, h, w), the per-pixel embedding, computed anew where there is a projection."""
        return self.maps if self.projection is None else self.projection(self.maps)

    def last_layer(self, image: int) -> ImageMasks:
        return ImageMasks(self.embeddings[-1, image], self.maps[image], self.projection)

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
