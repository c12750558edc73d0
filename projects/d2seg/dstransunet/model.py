"""DS-TransUNet (Lin et al. 2022) as a detectron2 meta-architecture.

B batch, N windows, K classes, (H, W) the padded batch.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from torch import Tensor
from torch.nn import functional as F

from ..per_pixel.segmentor import PerPixelSegmentor, loss_name, per_pixel_arguments
from .decoder import DECODER_FEATURES, AuxiliaryHead, DSTransUNetHead
from .fusion import LayerSize
from .losses import StructureLoss

AUXILIARY_FEATURES = ("up32", "up4")  # of the decoder, where the auxiliary heads are


@META_ARCH_REGISTRY.register()
class DSTransUNet(PerPixelSegmentor):
    """Two Swin Transformers, the fusion of their maps, a U-shaped decoder of Swin blocks.

    Of two classes it has a single logit, that of class 1 against class 0, as published; of more,
    one for each.
    """

    @configurable
    def __init__(
        self, *, main_weight: float = 0.6, train_scales: Sequence[float] = (1.0,), **others: Any
    ) -> None:
        """
        Args:
            main_weight: of the final logits' loss.
            train_scales: each training batch is resized by one of them, drawn at random.
            others: see :class:`PerPixelSegmentor`; ``decode_head`` is a ``DSTransUNetHead``,
                ``loss`` a ``StructureLoss``.

        Raises:
            ValueError: no scale, or one that is not positive.
        """
        super().__init__(**others)
        if not train_scales or min(train_scales) <= 0:
            raise ValueError(
                f"MODEL.DS_TRANSUNET.TRAIN_SCALES is {list(train_scales)}; give positive factors, "
                "one at least"
            )
        self.main_weight = main_weight
        self.train_scales = tuple(train_scales)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        _check_shared_keys(cfg)
        node, head = cfg.MODEL.DS_TRANSUNET, cfg.MODEL.SEM_SEG_HEAD
        loss = StructureLoss(
            num_classes=head.NUM_CLASSES,
            ignore_value=head.IGNORE_VALUE,
            ce_weight=cfg.MODEL.PER_PIXEL.LOSS.CE_WEIGHT,
            iou_weight=node.LOSS.IOU_WEIGHT,
        )
        num_channels = 1 if head.NUM_CLASSES == 2 else head.NUM_CLASSES
        backbone = build_backbone(cfg)
        decode_head = build_head(cfg, backbone.output_shape(), num_channels)
        return per_pixel_arguments(cfg, backbone) | {
            "decode_head": decode_head,
            "auxiliary_heads": [
                AuxiliaryHead(
                    in_feature=name,
                    in_channels=decode_head.channels[name],
                    num_channels=num_channels,
                )
                for name in AUXILIARY_FEATURES
            ],
            "loss": loss,
            "main_weight": node.LOSS.MAIN_WEIGHT,
            "train_scales": tuple(node.TRAIN_SCALES),
        }

    def losses(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Images (B, C, H, W), normalised, and labels (B, H, W) to the weighted losses, at one of
        the training scales."""
        targets = self.loss.targets(labels)
        scale = self.train_scales[int(torch.randint(len(self.train_scales), ()))]
        images, targets = self.at_scale(images, targets, scale)
        losses = {}
        for i, terms in enumerate(self.loss(self.all_logits(images), targets)):
            suffix = f"_aux_{i - 1}" if i else ""
            weight = self.auxiliary_weight if i else self.main_weight
            for term, value in terms.items():
                losses[loss_name(suffix, term)] = weight * value
        return losses

    def window_logits(self, images: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) of a fitting size to class logits (N, K, H, W)."""
        return class_logits(self.decode_head(self.backbone(images)))

    def all_logits(self, images: Tensor) -> list[Tensor]:
        """Class logits (B, K, H, W) of the decode head and of the auxiliary heads."""
        maps = self.decode_head.decode(self.backbone(images))
        logits = [self.decode_head.predictor(maps[DECODER_FEATURES[-1]])]
        logits += [head(maps) for head in self.auxiliary_heads]
        size = images.shape[-2:]
        return [class_logits(F.interpolate(each, size=size, mode="nearest")) for each in logits]

    def at_scale(self, images: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """Both (B, ..., H, W) resized to the nearest sides that the model takes; the targets become
        shares of classes, as published."""
        step = self.size_divisibility
        size = [max(1, math.floor(side * scale / step + 0.5)) * step for side in images.shape[-2:]]
        if tuple(size) == tuple(images.shape[-2:]):
            return images, targets
        return tuple(
            F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
            for maps in (images, targets)
        )


def build_head(
    cfg: CfgNode, input_shape: dict[str, ShapeSpec], num_channels: int
) -> DSTransUNetHead:
    node = cfg.MODEL.DS_TRANSUNET
    fine, coarse = (
        LayerSize(size.NUM_HEADS, size.HEAD_DIM, size.MLP_DIM)
        for size in (node.FUSION.FINE, node.FUSION.COARSE)
    )
    return DSTransUNetHead(
        input_shape,
        num_channels=num_channels,
        num_heads=tuple(node.DECODER.NUM_HEADS),
        window_size=node.WINDOW_SIZE,
        drop_path_rate=node.DECODER.DROP_PATH_RATE,
        fine_size=fine,
        coarse_size=coarse,
        num_groups=node.NUM_GROUPS,
    )


def class_logits(logits: Tensor) -> Tensor:
    """(B, 1 or K, H, W) -> (B, 2 or K, H, W): a single logit is that of class 1 over class 0, and
    the softmax of both is its sigmoid."""
    if logits.shape[1] > 1:
        return logits
    return torch.cat([torch.zeros_like(logits), logits], dim=1)


def _check_shared_keys(cfg: CfgNode) -> None:
    """Refuse what other per-pixel methods can do, so that no key is without effect."""
    loss = cfg.MODEL.PER_PIXEL.LOSS
    for key, value, allowed in [
        ("MODEL.PER_PIXEL.LOSS.DICE_WEIGHT", loss.DICE_WEIGHT, 0),
        ("MODEL.PER_PIXEL.LOSS.CLASS_WEIGHTS", list(loss.CLASS_WEIGHTS), []),
        ("MODEL.PER_PIXEL.LOSS.OHEM.ENABLED", loss.OHEM.ENABLED, False),
        ("MODEL.POINT_HEAD.ENABLED", cfg.MODEL.POINT_HEAD.ENABLED, False),
    ]:
        if value != allowed:
            raise ValueError(
                f"{key} is {value}, which DSTransUNet does not have; set it to {allowed}"
            )
