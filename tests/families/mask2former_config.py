"""Mask2Former's published configs, shrunk for tests."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

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


def confident_model(repo_dir: Path) -> nn.Module:
    """With random weights, a thin ResNet-50, and no threshold that would leave its results bare."""
    cfg = small_config(repo_dir)
    cfg.MODEL.RESNETS.DEPTH = 50
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 16
    cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 4
    cfg.MODEL.MASK_CLASSIFICATION.TEST.OBJECT_MASK_THRESHOLD = 0.0
    cfg.MODEL.MASK_CLASSIFICATION.TEST.OVERLAP_THRESHOLD = 0.0
    torch.manual_seed(0)
    return build_model(cfg).eval()
