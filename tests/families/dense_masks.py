"""Hand-made mask logits in the factored form that the mask-classification parts take."""

import torch
from torch import Tensor

from d2seg.mask_classification.query_masks import ImageMasks, QueryMasks


def query_masks(masks: Tensor) -> QueryMasks:
    """(L, B, Q, h, w) logits: each is a feature channel of its own, which its query picks."""
    num_layers, batch_size, num_queries = masks.shape[:3]
    picks = torch.eye(num_layers * num_queries).to(masks.dtype)
    picks = picks.view(num_layers, 1, num_queries, -1).expand(-1, batch_size, -1, -1)
    return QueryMasks(picks, masks.transpose(0, 1).flatten(1, 2))


def image_masks(masks: Tensor) -> ImageMasks:
    """(Q, h, w) logits."""
    return ImageMasks(torch.eye(len(masks)), masks)
