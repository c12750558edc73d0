"""Mask2Former (Cheng et al. 2022) as a detectron2 meta-architecture."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone

from ..backbones.outputs import decode_features
from ..layers.config_keys import naming_keys
from ..layers.deformable_attention import choose_implementation
from ..layers.point_sample import check_sampling_ratios
from ..mask_classification.building import (
    check_widths,
    criterion_arguments,
    matcher_arguments,
    pixel_decoder_arguments,
    segmentor_arguments,
    transformer_decoder_arguments,
)
from ..mask_classification.pixel_decoder import FPNPixelDecoder
from ..mask_classification.segmentor import MaskClassificationSegmentor
from .pixel_decoder import DeformableEncoder, DeformablePixelDecoder
from .point_criterion import PointSetCriterion
from .point_matcher import PointMatcher
from .transformer_decoder import MaskedAttentionDecoder

PIXEL_DECODERS = ("deformable", "fpn")


def build_pixel_decoder(
    cfg: CfgNode, input_shape: dict[str, ShapeSpec]
) -> DeformablePixelDecoder | FPNPixelDecoder:
    """What MODEL.MASK2FORMER.PIXEL_DECODER names.

    Raises:
        ValueError: an unknown name, features that the backbone does not give, or fewer of them
            than there are scales.
    """
    check_widths(cfg, "MASK2FORMER")
    node = cfg.MODEL.MASK2FORMER
    if node.PIXEL_DECODER not in PIXEL_DECODERS:
        raise ValueError(
            f"MODEL.MASK2FORMER.PIXEL_DECODER is '{node.PIXEL_DECODER}'; it is one of "
            f"{PIXEL_DECODERS}"
        )
    input_shape = decode_features(cfg, input_shape)
    if not 0 < node.NUM_SCALES <= len(input_shape):
        raise ValueError(
            f"MODEL.MASK2FORMER.NUM_SCALES is {node.NUM_SCALES}; with MODEL.SEM_SEG_HEAD."
            f"IN_FEATURES {list(input_shape)} it is 1 to {len(input_shape)}"
        )
    arguments = pixel_decoder_arguments(cfg) | {"num_scales": node.NUM_SCALES}
    if node.PIXEL_DECODER == "fpn":
        return FPNPixelDecoder(input_shape, **arguments)
    with naming_keys("MODEL.MASK2FORMER.DEFORMABLE_ATTENTION"):
        choose_implementation(node.DEFORMABLE_ATTENTION)
    encoder = DeformableEncoder(
        dim=arguments["conv_dim"],
        num_levels=len(node.ENCODER_IN_FEATURES),
        num_layers=node.NUM_PIXEL_ENCODER_LAYERS,
        num_heads=node.NUM_HEADS,
        num_points=node.NUM_SAMPLING_POINTS,
        dim_feedforward=node.PIXEL_ENCODER_DIM_FEEDFORWARD,
        dropout=node.DROPOUT,
        attention_implementation=node.DEFORMABLE_ATTENTION,
        checkpoint_activations=node.CHECKPOINT_ACTIVATIONS,
    )
    return DeformablePixelDecoder(
        input_shape, encoder=encoder, encoder_features=node.ENCODER_IN_FEATURES, **arguments
    )


def build_transformer_decoder(cfg: CfgNode, scale_channels: list[int]) -> MaskedAttentionDecoder:
    node = cfg.MODEL.MASK2FORMER
    return MaskedAttentionDecoder(
        scale_channels=scale_channels,
        num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        checkpoint_activations=node.CHECKPOINT_ACTIVATIONS,
        **transformer_decoder_arguments(cfg, node),
    )


def build_criterion(cfg: CfgNode) -> PointSetCriterion:
    node = cfg.MODEL.MASK2FORMER
    with naming_keys("MODEL.MASK2FORMER.OVERSAMPLE_RATIO and IMPORTANCE_SAMPLE_RATIO"):
        check_sampling_ratios(node.OVERSAMPLE_RATIO, node.IMPORTANCE_SAMPLE_RATIO)
    return PointSetCriterion(
        matcher=PointMatcher(num_points=node.NUM_LOSS_POINTS, **matcher_arguments(cfg)),
        oversample_ratio=node.OVERSAMPLE_RATIO,
        importance_ratio=node.IMPORTANCE_SAMPLE_RATIO,
        **criterion_arguments(cfg),
    )


@META_ARCH_REGISTRY.register()
class Mask2Former(MaskClassificationSegmentor):
    """Mask classification with masked attention on several scales."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        backbone = build_backbone(cfg)
        pixel_decoder = build_pixel_decoder(cfg, backbone.output_shape())
        # as published: Mask2Former cuts a segment to its own mask, MaskFormer does not
        return segmentor_arguments(cfg, backbone, intersect_panoptic=True) | {
            "pixel_decoder": pixel_decoder,
            "transformer_decoder": build_transformer_decoder(cfg, pixel_decoder.scale_channels),
            "criterion": build_criterion(cfg),
        }
