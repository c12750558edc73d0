"""Mask losses on sampled points (Cheng et al. 2022, section 3.3): every matched pair has its own
points, most of them where the prediction is unsure, chosen as in PointRend (Kirillov et al. 2020).

L layers, T matched targets of an image, P points, (h, w) the predicted masks' resolution.
"""

import torch
from torch import Tensor

from ..layers.chunking import budget
from ..layers.point_sample import (
    check_sampling_ratios,
    mask_uncertainty,
    point_sample,
    sample_binary_masks,
    uncertain_point_coords,
)
from ..mask_classification.criterion import SetCriterion
from ..mask_classification.losses import MASK_LOSSES, dice_loss
from ..mask_classification.targets import MaskTargets
from .point_matcher import PointMatcher, content_extent

_CANDIDATES_AT_ONCE = budget(1 << 19)  # bounds the memory of the points that are drawn


class PointSetCriterion(SetCriterion):
    """Weighted losses of every layer; mask and dice loss are taken at points inside the image.

    The official code draws its points over the padded image; without padding both are the same.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        matcher: PointMatcher,
        no_object_weight: float,
        oversample_ratio: float,
        importance_ratio: float,
    ) -> None:
        """The matcher's number of points serves for the losses too.

        ``oversample_ratio`` 3 and ``importance_ratio`` 0.75 as published, see
        :func:`uncertain_point_coords`, which also says what they may not be.
        """
        super().__init__(
            num_classes=num_classes, matcher=matcher, no_object_weight=no_object_weight
        )
        check_sampling_ratios(oversample_ratio, importance_ratio)
        self.oversample_ratio = oversample_ratio
        self.importance_ratio = importance_ratio

    def _pair_losses(
        self, logits: Tensor, target: MaskTargets, indices: Tensor, padded_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Sums of both losses over one image's pairs, (L,); arguments of :meth:`_mask_samples`."""
        num_layers = len(logits)
        logits, truth = self._mask_samples(logits, target, indices, padded_size)
        mask = MASK_LOSSES[self.matcher.mask_loss](logits, truth)
        dice = dice_loss(logits, truth)
        return mask.view(num_layers, -1).sum(1), dice.view(num_layers, -1).sum(1)

    def _mask_samples(
        self, logits: Tensor, target: MaskTargets, indices: Tensor, padded_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Logits and truth at each pair's own points, both (L * T, P) in fp32.

        logits: (L, T, h, w) over the padded image. indices: (L, T) of the targets.
        """
        maps = logits.flatten(0, 1)[:, None]  # (L * T, 1, h, w)
        extent = content_extent(target, padded_size)
        candidates = self.oversample_ratio * self.matcher.num_points
        at_once = _CANDIDATES_AT_ONCE.count(candidates, maps.device)
        coords = torch.cat(
            [
                uncertain_point_coords(
                    some,
                    mask_uncertainty,
                    self.matcher.num_points,
                    self.oversample_ratio,
                    self.importance_ratio,
                    extent,
                )
                for some in maps.split(at_once)
            ]
        )  # (L * T, P, 2) over the padded image
        truth = _truth_at(target.masks, indices, coords / extent)
        return point_sample(maps, coords)[:, 0], truth


def _truth_at(masks: Tensor, indices: Tensor, coords: Tensor) -> Tensor:
    """Values of the matched targets, each mask being read once for all layers.

    Args:
        masks: (N, h, w) bool; N exceeds T where there are more targets than queries.
        indices: (L, T) into the masks, no index twice in a layer.
        coords: (L * T, P, 2).

    Returns:
        (L * T, P).
    """
    num_layers, num_points = len(indices), coords.shape[1]
    layers = torch.arange(num_layers, device=indices.device)[:, None]
    by_mask = coords.new_zeros(len(masks), num_layers, num_points, 2)
    by_mask[indices, layers] = coords.unflatten(0, indices.shape)
    truth = sample_binary_masks(masks, by_mask.flatten(1, 2))  # (N, L * P)
    return truth.unflatten(1, (num_layers, num_points))[indices, layers].flatten(0, 1)
