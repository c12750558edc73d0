"""The part of PointRend's mask heads that does not depend on what describes a region (Kirillov et
al. 2020, section 4.1): boxes in, losses or masks out.

R regions (boxes), C channels of the fine features, K classes, P points, S the side of a mask.
Coordinates are (x, y) in [0, 1] x [0, 1] of a box.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from detectron2.structures import Instances
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.chunking import budget
from ..layers.point_head import PointHead, subdivide
from ..layers.point_rows import sampling_format
from ..layers.point_sample import mask_uncertainty, regular_grid_coords
from ..layers.recording import is_recording
from ..layers.state_conversion import convert_at_loading
from .region_heads import ImplicitPointHead, RegionHead
from .region_points import mask_labels_at, sample_features_in_boxes

# Bound of the numbers that a chunk of regions may take at inference: 64 MiB in fp32.
REGIONS_AT_ONCE = budget(1 << 24)

Features = Mapping[str, Tensor]


class PointMaskHead(nn.Module, ABC):
    """Describes every region by one vector, then predicts its mask at points."""

    def __init__(
        self,
        *,
        region_head: RegionHead,
        point_head: PointHead | ImplicitPointHead,
        region_strides: dict[str, int],
        region_size: int,
        point_strides: dict[str, int],
        num_train_points: int,
        initial_side: int,
        num_subdivisions: int,
        num_subdivision_points: int,
    ) -> None:
        """
        Args:
            region_head: (R, C, region_size, region_size) -> (R, D), the description.
            region_strides, point_strides: {feature: stride} that either head reads.
            initial_side: of the first mask at inference, all of whose points are predicted.
            num_subdivisions: how often it is doubled, with ``num_subdivision_points`` new points.
        """
        super().__init__()
        convert_at_loading(self, "roi_heads.mask_head.")
        self.region_head = region_head
        self.point_head = point_head
        self.region_strides = region_strides
        self.region_size = region_size
        self.point_strides = point_strides
        self.num_train_points = num_train_points
        self.num_subdivision_points = num_subdivision_points
        # a subdivision that predicts every cell anyway needs no coarser mask before it
        while num_subdivisions and 4 * initial_side**2 <= num_subdivision_points:
            initial_side, num_subdivisions = 2 * initial_side, num_subdivisions - 1
        self.initial_side = initial_side
        self.num_subdivisions = num_subdivisions

    @property
    def mask_size(self) -> int:
        """S of the masks at inference."""
        return self.initial_side * 2**self.num_subdivisions

    @property
    @abstractmethod
    def numbers_per_point(self) -> int:
        """How many numbers the point head holds at once for a point, roughly."""

    @abstractmethod
    def losses(
        self, features: Features, descriptions: Tensor, instances: list[Instances]
    ) -> dict[str, Tensor]:
        """The losses of matched proposals, whose ``descriptions`` (R, D) are in their order."""

    @abstractmethod
    def predict(
        self, point_features: Tensor, coords: Tensor, descriptions: Tensor, classes: Tensor
    ) -> Tensor:
        """Logits (R, P, 1) of the given class of each region.

        Args:
            point_features: (R, P, C). coords: (R, P, 2). descriptions: (R, D). classes: (R,).
        """

    def forward(
        self, features: Features, instances: list[Instances]
    ) -> dict[str, Tensor] | list[Instances]:
        """
        Args:
            features: {name: (B, C, H, W)} of the padded images.
            instances: per image the matched proposals in training (``proposal_boxes``,
                ``gt_classes``, ``gt_masks``), the detections at inference (``pred_boxes``,
                ``pred_classes``).

        Returns:
            The losses in training, else the detections with ``pred_masks`` (R, 1, S, S),
            probabilities over the box.
        """
        if self.training:
            descriptions = [
                self._describe(_of_image(features, i), x.proposal_boxes.tensor)
                for i, x in enumerate(instances)
            ]
            return self.losses(features, torch.cat(descriptions), instances)
        names = self.region_strides | self.point_strides
        for i, detections in enumerate(instances):
            of_image = {name: sampling_format(features[name][i, None])[0] for name in names}
            detections.pred_masks = self._masks(of_image, detections)
        return instances

    def point_features(
        self, features: Features, instances: list[Instances], coords: Tensor
    ) -> Tensor:
        """Fine features (R, P, C) of all images' proposals at ``coords`` (R, P, 2)."""
        per_image = coords.split([len(x) for x in instances])
        return torch.cat(
            [
                sample_features_in_boxes(
                    _of_image(features, i), self.point_strides, x.proposal_boxes.tensor, xy
                )
                for i, (x, xy) in enumerate(zip(instances, per_image, strict=True))
            ]
        )

    def point_loss(
        self,
        features: Features,
        instances: list[Instances],
        coords: Tensor,
        descriptions: Tensor,
    ) -> Tensor:
        """Mean binary cross-entropy at ``coords`` (R, P, 2); 0 without a region."""
        classes = torch.cat([x.gt_classes for x in instances])
        point_features = self.point_features(features, instances, coords)
        logits = self.predict(point_features, coords, descriptions, classes)[..., 0]
        if not len(classes):
            return logits.sum() * 0
        per_image = zip(instances, coords.split([len(x) for x in instances]), strict=True)
        labels = torch.cat([mask_labels_at(x, xy) for x, xy in per_image if len(x)])
        return F.binary_cross_entropy_with_logits(logits.float(), labels)

    def _describe(self, features: Features, boxes: Tensor) -> Tensor:
        """(R, D) of one image's boxes (R, 4)."""
        size = self.region_size
        grid = regular_grid_coords(len(boxes), size, boxes.device)
        pooled = sample_features_in_boxes(features, self.region_strides, boxes, grid)
        return self.region_head(pooled.transpose(1, 2).unflatten(2, (size, size)))

    def _masks(self, features: Features, detections: Instances) -> Tensor:
        """(R, 1, S, S) probabilities for one image, in chunks of bounded memory but in a graph."""
        boxes, classes = detections.pred_boxes.tensor, detections.pred_classes
        if is_recording():
            return self._mask_logits(features, boxes, classes).sigmoid()
        masks = boxes.new_empty(len(boxes), 1, self.mask_size, self.mask_size)
        num_points = max(self.num_subdivision_points, self.initial_side**2)
        per_region = self.numbers_per_point * num_points + 4 * self.mask_size**2
        for part in REGIONS_AT_ONCE.slices(len(boxes), per_region, boxes.device):
            logits = self._mask_logits(features, boxes[part], classes[part])
            masks[part] = logits.sigmoid()
        return masks

    def _mask_logits(self, features: Features, boxes: Tensor, classes: Tensor) -> Tensor:
        """Adaptive subdivision of the predicted classes' masks alone: (R, 1, S, S)."""
        descriptions = self._describe(features, boxes)

        def predict(coords: Tensor) -> Tensor:
            sampled = sample_features_in_boxes(features, self.point_strides, boxes, coords)
            return self.predict(sampled, coords, descriptions, classes)

        side = self.initial_side
        initial = predict(regular_grid_coords(len(boxes), side, boxes.device))
        return subdivide(
            initial.float().transpose(1, 2).unflatten(2, (side, side)),
            predict,
            mask_uncertainty,
            num_steps=self.num_subdivisions,
            num_points=self.num_subdivision_points,
        )


def _of_image(features: Features, index: int) -> Features:
    return {name: maps[index] for name, maps in features.items()}
