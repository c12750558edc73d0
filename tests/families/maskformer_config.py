"""MaskFormer's published configs, shrunk for tests."""

from pathlib import Path

from detectron2.config import CfgNode

from d2seg.config.loading import load_config

from .mask_classification import shrink


def small_config(repo_dir: Path, name: str = "ade20k_semantic_resnet50") -> CfgNode:
    cfg = load_config(str(repo_dir / "configs" / "maskformer" / f"{name}.yaml"))
    shrink(cfg)
    cfg.MODEL.MASKFORMER.HIDDEN_DIM = 32
    cfg.MODEL.MASKFORMER.NUM_HEADS = 4
    cfg.MODEL.MASKFORMER.DIM_FEEDFORWARD = 64
    return cfg
