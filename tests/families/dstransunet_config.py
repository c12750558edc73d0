"""DS-TransUNet's configs, as published or shrunk for tests."""

from pathlib import Path

from detectron2.config import CfgNode
from torch import nn

from d2seg.config.loading import load_config

from .per_pixel import shrink
from .undrawn import build_undrawn


def published_model(repo_dir: Path) -> nn.Module:
    """The binary model of the official code, to be given its weights."""
    cfg = load_config(str(repo_dir / "configs" / "dstransunet" / "_base_.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 2
    return build_undrawn(cfg)


def small_config(repo_dir: Path) -> CfgNode:
    """The published architecture with little of everything."""
    cfg = load_config(str(repo_dir / "configs" / "dstransunet" / "_base_.yaml"))
    shrink(cfg)
    node = cfg.MODEL.DS_TRANSUNET
    node.WINDOW_SIZE = 4
    node.TRAIN_SCALES = [1.0]
    for encoder, dim in ((node.FINE, 16), (node.COARSE, 8)):
        encoder.EMBED_DIM, encoder.DEPTHS, encoder.NUM_HEADS = dim, [1, 1, 2, 1], [1, 2, 2, 2]
    for layer in (node.FUSION.FINE, node.FUSION.COARSE):
        layer.NUM_HEADS, layer.HEAD_DIM, layer.MLP_DIM = 2, 4, 16
    return cfg
