"""Matching on sampled points (Cheng et al. 2022, section 3.3): the cost of a pair of masks is taken
at uniformly random points, which are the same for all masks of an image.

C channels of the masks' features, T targets of an image, P points, (H, W) the padded image, (h, w)
the image itself. Coordinates are (x, y) in [0, 1].
"""

import torch
from torch import Tensor

from ..layers.point_sample import point_sample, sample_binary_masks
from ..mask_classification.matcher import HungarianMatcher
from ..mask_classification.query_masks import QueryMasks
from ..mask_classification.targets import MaskTargets


class PointMatcher(HungarianMatcher):
    """Assigns targets to queries by the masks' values at points inside the image.

    The official code draws its points over the padded image; without padding both are the same.
    """

    def __init__(
        self,
        *,
        class_weight: float,
        mask_weight: float,
        dice_weight: float,
        mask_loss: str,
        num_points: int,
    ) -> None:
        """``num_points``: P, 12544 as published (section 3.3)."""
        super().__init__(
            class_weight=class_weight,
            mask_weight=mask_weight,
            dice_weight=dice_weight,
            mask_loss=mask_loss,
        )
        if num_points < 1:
            raise ValueError(
                f"MODEL.MASK2FORMER.NUM_LOSS_POINTS is {num_points}; it must be at least 1"
            )
        self.num_points = num_points

    def _mask_samples(
        self, pred_masks: QueryMasks, image: int, target: MaskTargets, padded_size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Features (C, P) and truth (T, P) at random points; none lies in the padding.

        Sampling and the product with an embedding are linear, so the features are sampled, which
        are fewer than the masks.
        """
        features = pred_masks.features[image]
        coords = torch.rand(1, self.num_points, 2, device=features.device)
        truth = sample_binary_masks(target.masks, coords)
        sampled = point_sample(features[None], coords * content_extent(target, padded_size))
        return sampled[0].to(features.dtype), truth


def content_extent(target: MaskTargets, padded_size: tuple[int, int]) -> Tensor:
    """Share of the padded image that the image takes, (w / W, h / H): (2,).

    Times a point's coordinates over the image, it gives those over the padded image.
    """
    (height, width), (padded_height, padded_width) = target.masks.shape[-2:], padded_size
    share = (width / padded_width, height / padded_height)
    return torch.tensor(share, device=target.masks.device)
