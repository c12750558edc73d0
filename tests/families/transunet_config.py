"""TransUNet's configs, as published or shrunk for tests."""

from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from d2seg.config.loading import load_config

from .per_pixel import shrink
from .undrawn import build_undrawn


def published_model(repo_dir: Path, name: str, **changes: Any) -> nn.Module:
    """To be given its weights. ``changes``: {key under MODEL: value}."""
    cfg = load_config(str(repo_dir / "configs" / "transunet" / f"{name}.yaml"))
    cfg.MODEL.DEVICE = "cpu"
    for key, value in changes.items():
        cfg.MODEL[key] = value
    return build_undrawn(cfg)


def small_config(repo_dir: Path, name: str = "synapse_semantic_r50_vit_base") -> CfgNode:
    """The published architecture with little of everything, for pictures on the 0..255 scale."""
    cfg = load_config(str(repo_dir / "configs" / "transunet" / f"{name}.yaml"))
    shrink(cfg)
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [128.0] * 3, [64.0] * 3
    vit = cfg.MODEL.HYBRID_VIT
    vit.IMAGE_SIZE, vit.EMBED_DIM, vit.DEPTH, vit.NUM_HEADS = 64, 48, 2, 4
    if vit.CNN_DEPTHS:
        vit.CNN_DEPTHS, vit.CNN_WIDTH = [1, 2, 1], 32
    cfg.MODEL.TRANSUNET.HEAD_CHANNELS = 32
    cfg.MODEL.TRANSUNET.DECODER_CHANNELS = [24, 16, 16, 8]
    return cfg
