"""Arguments of the parts that all mask-classification methods share, read from a config."""

from detectron2.config import CfgNode
from detectron2.modeling.backbone import Backbone

from ..layers.config_keys import naming_keys
from .losses import check_mask_loss
from .segmentor import PostprocessingSettings


def pixel_decoder_arguments(cfg: CfgNode) -> dict:
    head = cfg.MODEL.SEM_SEG_HEAD
    return {
        "conv_dim": head.CONVS_DIM,
        "mask_dim": cfg.MODEL.MASK_CLASSIFICATION.MASK_DIM,
        "norm": head.NORM,
    }


def check_widths(cfg: CfgNode, method: str) -> None:
    """``method``: "MASKFORMER" or "MASK2FORMER", whose node of MODEL has the keys.

    Raises:
        ValueError: a width is no multiple of the number of heads.
    """
    node = cfg.MODEL[method]
    for key, width in [
        (f"MODEL.{method}.HIDDEN_DIM", node.HIDDEN_DIM),
        ("MODEL.SEM_SEG_HEAD.CONVS_DIM", cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM),  # the encoder's
    ]:
        if width % node.NUM_HEADS:
            raise ValueError(
                f"{key} is {width}; it must be a multiple of MODEL.{method}.NUM_HEADS, "
                f"{node.NUM_HEADS}"
            )


def transformer_decoder_arguments(cfg: CfgNode, node: CfgNode) -> dict:
    """``node``: the method's own, MODEL.MASKFORMER or MODEL.MASK2FORMER."""
    shared = cfg.MODEL.MASK_CLASSIFICATION
    return {
        "num_queries": shared.NUM_QUERIES,
        "hidden_dim": node.HIDDEN_DIM,
        "mask_dim": shared.MASK_DIM,
        "num_heads": node.NUM_HEADS,
        "dim_feedforward": node.DIM_FEEDFORWARD,
        "num_layers": node.NUM_DECODER_LAYERS,
        "dropout": node.DROPOUT,
        "pre_norm": node.PRE_NORM,
        "deep_supervision": shared.DEEP_SUPERVISION,
    }


def matcher_arguments(cfg: CfgNode) -> dict:
    shared = cfg.MODEL.MASK_CLASSIFICATION
    with naming_keys("MODEL.MASK_CLASSIFICATION.MASK_LOSS"):
        check_mask_loss(shared.MASK_LOSS)
    return {
        "class_weight": shared.CLASS_WEIGHT,
        "mask_weight": shared.MASK_WEIGHT,
        "dice_weight": shared.DICE_WEIGHT,
        "mask_loss": shared.MASK_LOSS,
    }


def criterion_arguments(cfg: CfgNode) -> dict:
    """All but the matcher."""
    return {
        "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        "no_object_weight": cfg.MODEL.MASK_CLASSIFICATION.NO_OBJECT_WEIGHT,
    }


def segmentor_arguments(cfg: CfgNode, backbone: Backbone, *, intersect_panoptic: bool) -> dict:
    """All but the decoders and the criterion."""
    return {
        "backbone": backbone,
        "inference": PostprocessingSettings.from_config(cfg, intersect_panoptic=intersect_panoptic),
        "size_divisibility": cfg.MODEL.MASK_CLASSIFICATION.SIZE_DIVISIBILITY,
        "pixel_mean": cfg.MODEL.PIXEL_MEAN,
        "pixel_std": cfg.MODEL.PIXEL_STD,
    }
