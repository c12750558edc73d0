"""MaskFormer (Cheng et al. 2021) as a detectron2 meta-architecture."""

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone

from ..layers import TransformerEncoder
from ..mask_classification.criterion import SetCriterion
from ..mask_classification.matcher import HungarianMatcher
from ..mask_classification.pixel_decoder import FPNPixelDecoder
from ..mask_classification.segmentor import InferenceSettings, MaskClassificationSegmentor
from .transformer_decoder import MaskFormerDecoder


def build_pixel_decoder(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> FPNPixelDecoder:
    """The FPN pixel decoder, with a transformer encoder where the config asks for its layers."""
    node, head = cfg.MODEL.MASKFORMER, cfg.MODEL.SEM_SEG_HEAD
    missing = [name for name in head.IN_FEATURES if name not in input_shape]
    if missing:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.IN_FEATURES asks for {missing}, but the backbone "
            f"{cfg.MODEL.BACKBONE.NAME} gives {list(input_shape)}"
        )
    encoder = None
    if node.NUM_PIXEL_ENCODER_LAYERS > 0:
        encoder = TransformerEncoder(
            head.CONVS_DIM,
            num_layers=node.NUM_PIXEL_ENCODER_LAYERS,
            num_heads=node.NUM_HEADS,
            dim_feedforward=node.DIM_FEEDFORWARD,
            dropout=node.DROPOUT,
            pre_norm=node.PRE_NORM,
        )
    return FPNPixelDecoder(
        {name: input_shape[name] for name in head.IN_FEATURES},
        conv_dim=head.CONVS_DIM,
        mask_dim=cfg.MODEL.MASK_CLASSIFICATION.MASK_DIM,
        norm=head.NORM,
        encoder=encoder,
    )


def build_transformer_decoder(
    cfg: CfgNode, memory_channels: int, num_classes: int | None
) -> MaskFormerDecoder:
    node, shared = cfg.MODEL.MASKFORMER, cfg.MODEL.MASK_CLASSIFICATION
    return MaskFormerDecoder(
        memory_channels=memory_channels,
        num_classes=num_classes,
        num_queries=shared.NUM_QUERIES,
        hidden_dim=node.HIDDEN_DIM,
        mask_dim=shared.MASK_DIM,
        num_heads=node.NUM_HEADS,
        dim_feedforward=node.DIM_FEEDFORWARD,
        num_layers=node.NUM_DECODER_LAYERS,
        dropout=node.DROPOUT,
        pre_norm=node.PRE_NORM,
        deep_supervision=shared.DEEP_SUPERVISION,
    )


@META_ARCH_REGISTRY.register()
class MaskFormer(MaskClassificationSegmentor):
    """Mask classification with a DETR decoder on one feature map."""

    @configurable
    def __init__(self, **parts) -> None:
        """``parts``: see :class:`MaskClassificationSegmentor`."""
        super().__init__(**parts)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        backbone = build_backbone(cfg)
        num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        pixel_decoder = build_pixel_decoder(cfg, backbone.output_shape())
        shared = cfg.MODEL.MASK_CLASSIFICATION
        matcher = HungarianMatcher(
            class_weight=shared.CLASS_WEIGHT,
            mask_weight=shared.MASK_WEIGHT,
            dice_weight=shared.DICE_WEIGHT,
            mask_loss=shared.MASK_LOSS,
        )
        return {
            "backbone": backbone,
            "pixel_decoder": pixel_decoder,
            "transformer_decoder": build_transformer_decoder(
                cfg, pixel_decoder.memory_channels, num_classes
            ),
            "criterion": SetCriterion(
                num_classes=num_classes,
                matcher=matcher,
                no_object_weight=shared.NO_OBJECT_WEIGHT,
            ),
            # as published: MaskFormer does not cut a segment to its own mask, Mask2Former does
            "inference": InferenceSettings.from_config(cfg, intersect_panoptic=False),
            "size_divisibility": shared.SIZE_DIVISIBILITY,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }
