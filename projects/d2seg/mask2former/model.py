"""Mask2Former (Cheng et al. 2022) as a detectron2 meta-architecture."""

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone

from ..mask_classification.pixel_decoder import FPNPixelDecoder
from ..mask_classification.segmentor import InferenceSettings, MaskClassificationSegmentor
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
    node, head = cfg.MODEL.MASK2FORMER, cfg.MODEL.SEM_SEG_HEAD
    if node.PIXEL_DECODER not in PIXEL_DECODERS:
        raise ValueError(
            f"MODEL.MASK2FORMER.PIXEL_DECODER is '{node.PIXEL_DECODER}'; it is one of "
            f"{PIXEL_DECODERS}"
        )
    missing = [name for name in head.IN_FEATURES if name not in input_shape]
    if missing:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.IN_FEATURES asks for {missing}, but the backbone "
            f"{cfg.MODEL.BACKBONE.NAME} gives {list(input_shape)}"
        )
    if not 0 < node.NUM_SCALES <= len(head.IN_FEATURES):
        raise ValueError(
            f"MODEL.MASK2FORMER.NUM_SCALES is {node.NUM_SCALES}; with MODEL.SEM_SEG_HEAD."
            f"IN_FEATURES {list(head.IN_FEATURES)} it is 1 to {len(head.IN_FEATURES)}"
        )
    input_shape = {name: input_shape[name] for name in head.IN_FEATURES}
    shared = {
        "conv_dim": head.CONVS_DIM,
        "mask_dim": cfg.MODEL.MASK_CLASSIFICATION.MASK_DIM,
        "norm": head.NORM,
        "num_scales": node.NUM_SCALES,
    }
    if node.PIXEL_DECODER == "fpn":
        return FPNPixelDecoder(input_shape, **shared)
    encoder = DeformableEncoder(
        dim=head.CONVS_DIM,
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
        input_shape, encoder=encoder, encoder_features=node.ENCODER_IN_FEATURES, **shared
    )


def build_transformer_decoder(cfg: CfgNode, scale_channels: list[int]) -> MaskedAttentionDecoder:
    node, shared = cfg.MODEL.MASK2FORMER, cfg.MODEL.MASK_CLASSIFICATION
    return MaskedAttentionDecoder(
        scale_channels=scale_channels,
        num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        num_queries=shared.NUM_QUERIES,
        hidden_dim=node.HIDDEN_DIM,
        mask_dim=shared.MASK_DIM,
        num_heads=node.NUM_HEADS,
        dim_feedforward=node.DIM_FEEDFORWARD,
        num_layers=node.NUM_DECODER_LAYERS,
        dropout=node.DROPOUT,
        pre_norm=node.PRE_NORM,
        deep_supervision=shared.DEEP_SUPERVISION,
        checkpoint_activations=node.CHECKPOINT_ACTIVATIONS,
    )


def build_criterion(cfg: CfgNode) -> PointSetCriterion:
    node, shared = cfg.MODEL.MASK2FORMER, cfg.MODEL.MASK_CLASSIFICATION
    matcher = PointMatcher(
        class_weight=shared.CLASS_WEIGHT,
        mask_weight=shared.MASK_WEIGHT,
        dice_weight=shared.DICE_WEIGHT,
        mask_loss=shared.MASK_LOSS,
        num_points=node.NUM_LOSS_POINTS,
    )
    return PointSetCriterion(
        num_classes=cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        matcher=matcher,
        no_object_weight=shared.NO_OBJECT_WEIGHT,
        oversample_ratio=node.OVERSAMPLE_RATIO,
        importance_ratio=node.IMPORTANCE_RATIO,
    )


@META_ARCH_REGISTRY.register()
class Mask2Former(MaskClassificationSegmentor):
    """Mask classification with masked attention on several scales."""

    @configurable
    def __init__(self, **parts) -> None:
        """``parts``: see :class:`MaskClassificationSegmentor`."""
        super().__init__(**parts)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        backbone = build_backbone(cfg)
        pixel_decoder = build_pixel_decoder(cfg, backbone.output_shape())
        return {
            "backbone": backbone,
            "pixel_decoder": pixel_decoder,
            "transformer_decoder": build_transformer_decoder(cfg, pixel_decoder.scale_channels),
            "criterion": build_criterion(cfg),
            # as published: Mask2Former cuts a segment to its own mask, MaskFormer does not
            "inference": InferenceSettings.from_config(cfg, intersect_panoptic=True),
            "size_divisibility": cfg.MODEL.MASK_CLASSIFICATION.SIZE_DIVISIBILITY,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }
