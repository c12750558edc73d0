"""PointRend and Implicit PointRend for instances (Kirillov et al. 2020, section 4; Cheng et al.
2022), as mask heads of detectron2's ROI heads: ``MODEL.ROI_MASK_HEAD.NAME`` names one.

R regions (boxes), D numbers that describe a region, K classes, P points.
"""

from collections.abc import Iterable
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_MASK_HEAD_REGISTRY
from detectron2.modeling.roi_heads.mask_head import mask_rcnn_loss
from detectron2.structures import Instances
from torch import Tensor, nn

from ..layers.config_keys import naming_keys
from ..layers.point_head import PointHead
from ..layers.point_sample import (
    check_sampling_ratios,
    mask_uncertainty,
    uncertain_point_coords,
)
from .mask_head import Features, PointMaskHead
from .region_heads import ImplicitPointHead, RegionHead

_PREDICTOR_WEIGHT = "point_head.predictor.weight"


@ROI_MASK_HEAD_REGISTRY.register()
class PointRendInstanceHead(PointMaskHead):
    """The description of a region is a coarse mask for every class, refined at points."""

    @configurable
    def __init__(
        self, *, coarse_size: int, oversample_ratio: float, importance_ratio: float, **parts: Any
    ) -> None:
        """
        Args:
            coarse_size: side of the coarse masks.
            oversample_ratio, importance_ratio: k and beta of section 3.1.
            parts: see :class:`PointMaskHead`.

        Raises:
            ValueError: see ``check_sampling_ratios``.
        """
        check_sampling_ratios(oversample_ratio, importance_ratio)
        super().__init__(initial_side=coarse_size, **parts)
        self.register_state_dict_post_hook(_store_as_convolution)
        self.register_load_state_dict_pre_hook(_load_as_linear)
        self.coarse_size = coarse_size
        self.oversample_ratio = oversample_ratio
        self.importance_ratio = importance_ratio

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        size, num_classes = cfg.MODEL.POINTREND.COARSE_SIZE, cfg.MODEL.ROI_HEADS.NUM_CLASSES
        node = cfg.MODEL.POINT_HEAD
        with naming_keys("MODEL.POINT_HEAD.OVERSAMPLE_RATIO and IMPORTANCE_SAMPLE_RATIO"):
            check_sampling_ratios(node.OVERSAMPLE_RATIO, node.IMPORTANCE_SAMPLE_RATIO)
        return _common_arguments(cfg, input_shape) | {
            "region_head": _build_region_head(cfg, input_shape, num_classes * size**2),
            "point_head": PointHead(
                feature_channels=_channels(input_shape, node.IN_FEATURES),
                num_classes=num_classes,
                hidden_dim=node.FC_DIM,
                num_layers=node.NUM_FC,
                coarse_at_every_layer=node.COARSE_PRED_EACH_LAYER,
            ),
            "coarse_size": size,
            "oversample_ratio": node.OVERSAMPLE_RATIO,
            "importance_ratio": node.IMPORTANCE_SAMPLE_RATIO,
        }

    def fit_to_checkpoint(
        self, state: dict[str, Tensor], prefix: str, require_complete: bool
    ) -> None:
        """Bring the weight of a checkpoint that has it as a linear layer's into the form in which
        this module gives it; see ``Checkpointer``."""
        weight = state.get(prefix + _PREDICTOR_WEIGHT)
        if weight is not None and weight.dim() == 2:
            state[prefix + _PREDICTOR_WEIGHT] = weight.unsqueeze(2)

    @property
    def numbers_per_point(self) -> int:
        layers = [*self.point_head.layers, self.point_head.predictor]
        return 3 * max(layer.in_features for layer in layers)

    def losses(
        self, features: Features, descriptions: Tensor, instances: list[Instances]
    ) -> dict[str, Tensor]:
        coarse = self._coarse_masks(descriptions)
        classes = torch.cat([x.gt_classes for x in instances])
        rows = torch.arange(len(classes), device=classes.device)
        coords = uncertain_point_coords(
            coarse.detach()[rows, classes, None],
            mask_uncertainty,
            self.num_train_points,
            self.oversample_ratio,
            self.importance_ratio,
        )
        return {
            "loss_mask": mask_rcnn_loss(coarse, instances),
            "loss_mask_point": self.point_loss(features, instances, coords, descriptions),
        }

    def predict(
        self, point_features: Tensor, coords: Tensor, descriptions: Tensor, classes: Tensor
    ) -> Tensor:
        coarse = self._coarse_masks(descriptions)
        return self.point_head.on_coarse_maps(point_features, coarse, coords, classes)

    def _coarse_masks(self, descriptions: Tensor) -> Tensor:
        """(R, D) -> logits (R, K, coarse_size, coarse_size)."""
        return descriptions.unflatten(1, (-1, self.coarse_size, self.coarse_size))


@ROI_MASK_HEAD_REGISTRY.register()
class ImplicitPointRendInstanceHead(PointMaskHead):
    """The description of a region holds the weights of a point head of its own; no coarse mask."""

    @configurable
    def __init__(self, *, parameter_penalty: float, **parts: Any) -> None:
        """
        Args:
            parameter_penalty: weight of the mean square of the regions' parameters as a loss.
            parts: see :class:`PointMaskHead`.
        """
        super().__init__(**parts)
        self.parameter_penalty = parameter_penalty

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        node, implicit = cfg.MODEL.POINT_HEAD, cfg.MODEL.POINTREND.IMPLICIT
        arguments = _common_arguments(cfg, input_shape)
        point_head = ImplicitPointHead(
            feature_channels=_channels(input_shape, node.IN_FEATURES),
            num_classes=cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            hidden_dim=node.FC_DIM,
            num_layers=node.NUM_FC,
            use_image_features=implicit.USE_IMAGE_FEATURES,
            use_positions=implicit.USE_POSITIONS,
        )
        return arguments | {
            "region_head": _build_region_head(cfg, input_shape, point_head.num_parameters),
            "point_head": point_head,
            # as large as one step can predict
            "initial_side": int(node.SUBDIVISION_NUM_POINTS**0.5),
            "parameter_penalty": implicit.PARAMETER_PENALTY,
        }

    @property
    def numbers_per_point(self) -> int:
        widest = max(out + into for out, into in self.point_head.weight_shapes)
        return widest + self.point_head.num_parameters // self.num_subdivision_points

    def losses(
        self, features: Features, descriptions: Tensor, instances: list[Instances]
    ) -> dict[str, Tensor]:
        coords = torch.rand(len(descriptions), self.num_train_points, 2, device=descriptions.device)
        # a mean over no region would be NaN
        mean_square = descriptions.square().sum() / max(descriptions.numel(), 1)
        return {
            "loss_mask_parameters": self.parameter_penalty * mean_square,
            "loss_mask_point": self.point_loss(features, instances, coords, descriptions),
        }

    def predict(
        self, point_features: Tensor, coords: Tensor, descriptions: Tensor, classes: Tensor
    ) -> Tensor:
        return self.point_head(point_features, coords, descriptions, classes)


def _store_as_convolution(
    module: nn.Module, state: dict[str, Any], prefix: str, local_metadata: dict
) -> None:
    """Give the weight (K, C) as the one (K, C, 1) of the convolution that detectron2's PointRend
    has under the same name: its checkpointer drops a tensor of another shape before any hook sees
    it."""
    state[prefix + _PREDICTOR_WEIGHT] = state[prefix + _PREDICTOR_WEIGHT].unsqueeze(2)


def _load_as_linear(
    module: nn.Module,
    state: dict[str, Any],
    prefix: str,
    local_metadata: dict,
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    """The reverse of :func:`_store_as_convolution`; (K, C) stays as it is."""
    name = prefix + _PREDICTOR_WEIGHT
    weight = state.get(name)
    if weight is not None and weight.dim() == 3:
        state[name] = weight.squeeze(2)
    elif weight is None and name.replace(".weight", ".bias") in state:
        errors.append(
            f"{name} is missing or was dropped for its shape (K, C), which an earlier version "
            "wrote: load the checkpoint with d2seg.Checkpointer"
        )


def _common_arguments(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
    """Arguments of :class:`PointMaskHead` that both heads take from the same keys.

    Raises:
        ValueError: the ROI heads pool the features, or lack those that are asked for.
    """
    if not isinstance(input_shape, dict):
        raise ValueError(
            f"MODEL.ROI_MASK_HEAD.POOLER_TYPE is {cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE!r}; "
            f"{cfg.MODEL.ROI_MASK_HEAD.NAME} samples the features itself: set it to ''"
        )
    if cfg.INPUT.MAPPER == "detectron2" and cfg.INPUT.MASK_FORMAT != "bitmask":
        raise ValueError(
            f"INPUT.MASK_FORMAT is {cfg.INPUT.MASK_FORMAT!r}; {cfg.MODEL.ROI_MASK_HEAD.NAME} "
            "samples its ground truth from bitmasks: set it to 'bitmask'"
        )
    return {
        "region_strides": _strides(
            "MODEL.POINTREND.COARSE_IN_FEATURES",
            cfg.MODEL.POINTREND.COARSE_IN_FEATURES,
            input_shape,
        ),
        "region_size": cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION,
        "point_strides": _strides(
            "MODEL.POINT_HEAD.IN_FEATURES", cfg.MODEL.POINT_HEAD.IN_FEATURES, input_shape
        ),
        "num_train_points": cfg.MODEL.POINT_HEAD.TRAIN_NUM_POINTS,
        "num_subdivisions": cfg.MODEL.POINT_HEAD.SUBDIVISION_STEPS,
        "num_subdivision_points": cfg.MODEL.POINT_HEAD.SUBDIVISION_NUM_POINTS,
    }


def _build_region_head(
    cfg: CfgNode, input_shape: dict[str, ShapeSpec], num_outputs: int
) -> RegionHead:
    return RegionHead(
        input_channels=_channels(input_shape, cfg.MODEL.POINTREND.COARSE_IN_FEATURES),
        input_size=cfg.MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION,
        conv_dim=cfg.MODEL.ROI_MASK_HEAD.CONV_DIM,
        fc_dim=cfg.MODEL.POINTREND.COARSE_FC_DIM,
        num_fc=cfg.MODEL.POINTREND.COARSE_NUM_FC,
        num_outputs=num_outputs,
    )


def _strides(key: str, names: Iterable[str], input_shape: dict[str, ShapeSpec]) -> dict[str, int]:
    missing = [name for name in names if name not in input_shape]
    if missing:
        raise ValueError(
            f"{key} asks for {missing}, but MODEL.ROI_HEADS.IN_FEATURES gives {list(input_shape)}"
        )
    return {name: input_shape[name].stride for name in names}


def _channels(input_shape: dict[str, ShapeSpec], names: Iterable[str]) -> int:
    return sum(input_shape[name].channels for name in names)
