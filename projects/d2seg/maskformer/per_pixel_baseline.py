"""The per-pixel baselines of the MaskFormer paper (Cheng et al. 2021, section 4.2), as heads of
detectron2's ``SemanticSegmentor``.

``PerPixelBaselineHead`` classifies the per-pixel embedding linearly. ``PerPixelBaselinePlusHead``
takes MaskFormer's transformer decoder with one query per class; its masks are the class logits.
"""

from abc import abstractmethod
from typing import Any

import fvcore.nn.weight_init as weight_init
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.state_conversion import convert_at_loading
from ..mask_classification.pixel_decoder import FPNPixelDecoder, PixelDecoderOutput
from .model import build_pixel_decoder, build_transformer_decoder
from .transformer_decoder import MaskFormerDecoder


class PerPixelHead(nn.Module):
    """Pixel decoder, class logits at the stride s of its finest feature (4 as published), and a
    cross-entropy at the image's resolution."""

    def __init__(
        self, *, pixel_decoder: FPNPixelDecoder, ignore_value: int, loss_weight: float
    ) -> None:
        super().__init__()
        convert_at_loading(self, "sem_seg_head.")
        self.pixel_decoder = pixel_decoder
        self.ignore_value = ignore_value
        self.loss_weight = loss_weight

    @abstractmethod
    def layer_logits(self, decoded: PixelDecoderOutput) -> list[Tensor]:
        """Class logits (B, K, H/s, W/s) of every supervised layer, the last one last."""

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """
        Args:
            features: {stage: (B, C, h, w)}.
            targets: (B, H, W) int64 labels in training, padded with the ignore value.

        Returns:
            (``None``, losses) in training, else (logits (B, K, H', W'), {}), where H' and W' are
            the multiples of s that hold the padded images: one row of logits for each row of
            pixels from the top, so that ``SemanticSegmentor``'s cropping to an image's size is
            exact for every size.

        Raises:
            ValueError: there are no targets in training.
        """
        if self.training and targets is None:
            raise ValueError(
                "training needs 'sem_seg' in each mapped example; set INPUT.MAPPER to 'semantic'"
            )
        *auxiliary, logits = self.layer_logits(self.pixel_decoder(features))
        if not self.training:
            return self._upsample(logits), {}
        losses = {"loss_sem_seg": self._loss(logits, targets)}
        for layer, layer_logits in enumerate(auxiliary):
            losses[f"loss_sem_seg_{layer}"] = self._loss(layer_logits, targets)
        return None, losses

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        height, width = targets.shape[-2:]
        # cropped, not resized, as at inference: a resize would shift the pixels of odd sizes
        logits = self._upsample(logits.float())[..., :height, :width]
        total = F.cross_entropy(logits, targets, ignore_index=self.ignore_value, reduction="sum")
        # a batch without any valid pixel gives 0, not NaN
        num_valid = (targets != self.ignore_value).sum().clamp(min=1)
        return self.loss_weight * total / num_valid

    def _upsample(self, logits: Tensor) -> Tensor:
        stride = self.pixel_decoder.mask_stride
        return F.interpolate(logits, scale_factor=stride, mode="bilinear", align_corners=False)


def _head_arguments(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
    return {
        "pixel_decoder": build_pixel_decoder(cfg, input_shape),
        "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        "loss_weight": cfg.MODEL.SEM_SEG_HEAD.LOSS_WEIGHT,
    }


@SEM_SEG_HEADS_REGISTRY.register()
class PerPixelBaselineHead(PerPixelHead):
    """``PerPixelBaseline`` of the paper's table 1."""

    @configurable
    def __init__(self, *, num_classes: int, mask_dim: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.predictor = Conv2d(mask_dim, num_classes, kernel_size=1)
        weight_init.c2_msra_fill(self.predictor)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        return _head_arguments(cfg, input_shape) | {
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "mask_dim": cfg.MODEL.MASK_CLASSIFICATION.MASK_DIM,
        }

    def layer_logits(self, decoded: PixelDecoderOutput) -> list[Tensor]:
        return [self.predictor(decoded.mask_features)]


@SEM_SEG_HEADS_REGISTRY.register()
class PerPixelBaselinePlusHead(PerPixelHead):
    """``PerPixelBaseline+`` of the paper's table 1."""

    @configurable
    def __init__(self, *, transformer_decoder: MaskFormerDecoder, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.transformer_decoder = transformer_decoder

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        num_queries = cfg.MODEL.MASK_CLASSIFICATION.NUM_QUERIES
        num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        if num_queries != num_classes:
            raise ValueError(
                f"MODEL.MASK_CLASSIFICATION.NUM_QUERIES is {num_queries}; PerPixelBaselinePlusHead "
                f"needs one query per class, {num_classes}"
            )
        arguments = _head_arguments(cfg, input_shape)
        channels = arguments["pixel_decoder"].memory_channels
        decoder = build_transformer_decoder(cfg, channels, num_classes=None)
        return arguments | {"transformer_decoder": decoder}

    def layer_logits(self, decoded: PixelDecoderOutput) -> list[Tensor]:
        _, masks = self.transformer_decoder(decoded)
        return list(masks.all())
