"""MaskFormer (Cheng et al. 2021) as a detectron2 meta-architecture."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone

from ..backbones.outputs import decode_features
from ..layers import TransformerEncoder
from ..mask_classification.building import (
    check_widths,
    criterion_arguments,
    matcher_arguments,
    pixel_decoder_arguments,
    segmentor_arguments,
    transformer_decoder_arguments,
)
from ..mask_classification.criterion import SetCriterion
from ..mask_classification.matcher import HungarianMatcher
from ..mask_classification.pixel_decoder import FPNPixelDecoder
from ..mask_classification.segmentor import MaskClassificationSegmentor
from .transformer_decoder import MaskFormerDecoder


def build_pixel_decoder(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> FPNPixelDecoder:
    """The FPN pixel decoder, with a transformer encoder where the config asks for its layers."""
    check_widths(cfg, "MASKFORMER")
    node, arguments = cfg.MODEL.MASKFORMER, pixel_decoder_arguments(cfg)
    encoder = None
    if node.NUM_PIXEL_ENCODER_LAYERS > 0:
        encoder = TransformerEncoder(
            arguments["conv_dim"],
            num_layers=node.NUM_PIXEL_ENCODER_LAYERS,
            num_heads=node.NUM_HEADS,
            dim_feedforward=node.DIM_FEEDFORWARD,
            dropout=node.DROPOUT,
            pre_norm=node.PRE_NORM,
        )
    return FPNPixelDecoder(decode_features(cfg, input_shape), encoder=encoder, **arguments)


def build_transformer_decoder(
    cfg: CfgNode, memory_channels: int, num_classes: int | None
) -> MaskFormerDecoder:
    return MaskFormerDecoder(
        memory_channels=memory_channels,
        num_classes=num_classes,
        **transformer_decoder_arguments(cfg, cfg.MODEL.MASKFORMER),
    )


@META_ARCH_REGISTRY.register()
class MaskFormer(MaskClassificationSegmentor):
    """Mask classification with a DETR decoder on one feature map."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        backbone = build_backbone(cfg)
        pixel_decoder = build_pixel_decoder(cfg, backbone.output_shape())
        # as published: MaskFormer does not cut a segment to its own mask, Mask2Former does
        return segmentor_arguments(cfg, backbone, intersect_panoptic=False) | {
            "pixel_decoder": pixel_decoder,
            "transformer_decoder": build_transformer_decoder(
                cfg, pixel_decoder.memory_channels, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
            ),
            "criterion": SetCriterion(
                matcher=HungarianMatcher(**matcher_arguments(cfg)), **criterion_arguments(cfg)
            ),
        }
