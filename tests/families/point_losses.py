"""Random inputs for matching and losses at points, and the criterion under test."""

import torch
from torch import Tensor

from d2seg.mask2former.point_criterion import PointSetCriterion
from d2seg.mask2former.point_matcher import PointMatcher
from d2seg.mask_classification.query_masks import QueryMasks
from d2seg.mask_classification.targets import MaskTargets

NUM_CLASSES = 5
WEIGHTS = {"class_weight": 2.0, "mask_weight": 5.0, "dice_weight": 4.0}


def point_matcher(num_points: int = 64, **weights: float) -> PointMatcher:
    return PointMatcher(**(WEIGHTS | weights), mask_loss="bce", num_points=num_points)


def point_criterion(
    num_points: int = 64, oversample_ratio: float = 3.0, **weights: float
) -> PointSetCriterion:
    return PointSetCriterion(
        num_classes=NUM_CLASSES,
        matcher=point_matcher(num_points, **weights),
        no_object_weight=0.1,
        oversample_ratio=oversample_ratio,
        importance_ratio=0.75,
    )


def random_targets(num_masks: int, height: int, width: int, name: str = "a.png") -> MaskTargets:
    masks = torch.rand(num_masks, height, width) > 0.5
    return MaskTargets(torch.arange(num_masks) % NUM_CLASSES, masks, name)


def random_predictions(
    num_layers: int, batch: int, queries: int, grid: int, requires_grad: bool = False
) -> tuple[Tensor, QueryMasks]:
    """Class logits and square masks of ``grid`` cells a side."""
    shapes = (num_layers, batch, queries, NUM_CLASSES + 1), (num_layers, batch, queries, 8)
    logits, embeddings, features = (
        torch.randn(shape, requires_grad=requires_grad)
        for shape in (*shapes, (batch, 8, grid, grid))
    )
    return logits, QueryMasks(embeddings, features)
