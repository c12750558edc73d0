"""TopFormer's published configs, shrunk for tests."""

from pathlib import Path

from detectron2.config import CfgNode

from d2seg.config.loading import load_config

from .per_pixel import shrink


def small_config(repo_dir: Path, name: str = "ade20k_semantic_base") -> CfgNode:
    cfg = load_config(str(repo_dir / "configs" / "topformer" / f"{name}.yaml"))
    shrink(cfg)
    node = cfg.MODEL.TOPFORMER
    node.PYRAMID_BLOCKS = [[3, 1, 8, 1], [3, 2, 8, 2], [5, 2, 12, 2], [3, 2, 16, 2], [3, 2, 20, 2]]
    node.DEPTH = 2
    node.NUM_HEADS = 2
    node.OUT_DIM = 16
    return cfg
