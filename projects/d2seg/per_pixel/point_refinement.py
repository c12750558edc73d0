"""PointRend's point head behind any decode head (Kirillov et al. 2020, section 5).

B images, C channels of all fine features, K classes, P points, (h, w) the decode head's logits,
(H, W) the labels. Coordinates are (x, y) in [0, 1] x [0, 1] over the padded image.
"""

from collections.abc import Mapping, Sequence
from math import log2

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

from ..backbones.outputs import select_features
from ..layers.config_keys import naming_keys
from ..layers.point_head import PointHead, predict_uncertain_cells, subdivide
from ..layers.point_rows import point_rows, sampling_format
from ..layers.point_sample import (
    check_sampling_ratios,
    semantic_uncertainty,
    uncertain_point_coords,
)
from ..layers.recording import is_recording


class PointRefinement(nn.Module):
    """Learns from uncertain points; at inference predicts them anew at twice the resolution, step
    by step."""

    def __init__(
        self,
        *,
        point_head: PointHead,
        in_features: Sequence[str],
        num_train_points: int,
        oversample_ratio: float,
        importance_ratio: float,
        num_subdivisions: int,
        num_subdivision_points: int,
    ) -> None:
        """
        Args:
            in_features: the backbone's feature maps that are sampled, joined along the channels.
            oversample_ratio, importance_ratio: k and beta of section 3.1.

        Raises:
            ValueError: see ``check_sampling_ratios``.
        """
        super().__init__()
        check_sampling_ratios(oversample_ratio, importance_ratio)
        self.point_head = point_head
        self.in_features = list(in_features)
        self.num_train_points = num_train_points
        self.oversample_ratio = oversample_ratio
        self.importance_ratio = importance_ratio
        self.num_subdivisions = num_subdivisions
        self.num_subdivision_points = num_subdivision_points

    def forward(
        self, logits: Tensor, features: Mapping[str, Tensor], image_size: Sequence[int]
    ) -> Tensor:
        """
        Args:
            logits: (B, K, h, w). features: {stage: (B, C', h', w')}.
            image_size: (H, W) of the padded images.

        Returns:
            Logits (B, K, 2^n h, 2^n w) after n subdivisions: as many as were asked for, less those
            that would go beyond the image. Logits that have the image's size are refined as they
            are.
        """
        maps = {name: sampling_format(features[name]) for name in self.in_features}
        coarse = sampling_format(logits.float())

        def predict(coords: Tensor) -> Tensor:
            return self._predict(coarse, maps, coords)

        if is_recording():  # whole numbers, which symbols of the size divide to
            num_doublings = int(image_size[0] // logits.shape[-2]).bit_length() - 1
        else:
            num_doublings = int(log2(image_size[0] / logits.shape[-2]))
        num_steps = min(self.num_subdivisions, num_doublings)
        if num_steps < 1 and self.num_subdivisions:
            refined = logits.float().clone(memory_format=torch.contiguous_format)
            return predict_uncertain_cells(
                refined, predict, uncertainty_map, self.num_subdivision_points
            )
        return subdivide(
            logits.float(),
            predict,
            uncertainty_map,
            num_steps=num_steps,
            num_points=self.num_subdivision_points,
        )

    def training_points(
        self, logits: Tensor, features: Mapping[str, Tensor], labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Args:
            logits: (B, K, h, w). labels: (B, H, W) int64.

        Returns:
            Logits (B, K, P, 1) and labels (B, P, 1) at points, as an image of one column.
        """
        coarse = logits.float()
        coords = uncertain_point_coords(
            coarse.detach(),
            semantic_uncertainty,
            self.num_train_points,
            self.oversample_ratio,
            self.importance_ratio,
        )
        point_logits = self._predict(coarse, features, coords)
        return point_logits.transpose(1, 2)[..., None], labels_at(labels, coords)[..., None]

    def _predict(self, coarse: Tensor, features: Mapping[str, Tensor], coords: Tensor) -> Tensor:
        """Logits (B, P, K)."""
        sampled = [point_rows(features[name], coords) for name in self.in_features]
        return self.point_head(torch.cat(sampled, dim=2), point_rows(coarse, coords))


@torch.no_grad()
def uncertainty_map(logits: Tensor) -> Tensor:
    """``semantic_uncertainty`` of whole maps, (B, K, H, W) -> (B, H, W), by a running comparison,
    because ``topk`` is made for the last axis."""
    best = logits[:, 0].clone()
    second = torch.full_like(best, -torch.inf)
    for of_class in logits.unbind(1)[1:]:
        torch.maximum(second, torch.minimum(best, of_class), out=second)
        torch.maximum(best, of_class, out=best)
    return second - best


def labels_at(labels: Tensor, coords: Tensor) -> Tensor:
    """Labels (B, P) of the pixels that hold the points: (B, H, W), coords (B, P, 2)."""
    height, width = labels.shape[-2:]
    column = (coords[..., 0] * width).long().clamp(0, width - 1)
    row = (coords[..., 1] * height).long().clamp(0, height - 1)
    return labels.flatten(1).gather(1, row * width + column)


def build_point_refinement(
    cfg: CfgNode, input_shape: dict[str, ShapeSpec]
) -> PointRefinement | None:
    """What MODEL.POINT_HEAD asks for; ``None`` where it is off.

    Args:
        input_shape: of the backbone's feature maps.

    Raises:
        ValueError: a feature map is missing, or there is only one class.
    """
    node, head = cfg.MODEL.POINT_HEAD, cfg.MODEL.SEM_SEG_HEAD
    if not node.ENABLED:
        return None
    features = select_features(cfg, "MODEL.POINT_HEAD.IN_FEATURES", node.IN_FEATURES, input_shape)
    if head.NUM_CLASSES < 2:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {head.NUM_CLASSES}; MODEL.POINT_HEAD.ENABLED needs "
            "two classes, between which points are uncertain"
        )
    with naming_keys("MODEL.POINT_HEAD.OVERSAMPLE_RATIO and IMPORTANCE_SAMPLE_RATIO"):
        check_sampling_ratios(node.OVERSAMPLE_RATIO, node.IMPORTANCE_SAMPLE_RATIO)
    return PointRefinement(
        point_head=PointHead(
            feature_channels=sum(shape.channels for shape in features.values()),
            num_classes=head.NUM_CLASSES,
            hidden_dim=node.FC_DIM,
            num_layers=node.NUM_FC,
            coarse_at_every_layer=node.COARSE_PRED_EACH_LAYER,
        ),
        in_features=list(features),
        num_train_points=node.TRAIN_NUM_POINTS,
        oversample_ratio=node.OVERSAMPLE_RATIO,
        importance_ratio=node.IMPORTANCE_SAMPLE_RATIO,
        num_subdivisions=node.SUBDIVISION_STEPS,
        num_subdivision_points=node.SUBDIVISION_NUM_POINTS,
    )
