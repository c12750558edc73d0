"""Mask2Former's published configs, shrunk for tests."""

from pathlib import Path

from detectron2.config import CfgNode

from d2seg.config.loading import load_config

from .mask_classification import shrink


def small_config(repo_dir: Path, name: str = "coco_panoptic_resnet50") -> CfgNode:
    cfg = load_config(str(repo_dir / "configs" / "mask2former" / f"{name}.yaml"))
    shrink(cfg)
    node = cfg.MODEL.MASK2FORMER
    node.HIDDEN_DIM = 32
    node.NUM_HEADS = 4
    node.DIM_FEEDFORWARD = 64
    node.NUM_PIXEL_ENCODER_LAYERS = 2
    node.PIXEL_ENCODER_DIM_FEEDFORWARD = 64
    node.NUM_DECODER_LAYERS = 4  # one more than there are scales
    node.NUM_LOSS_POINTS = 128
    return cfg
