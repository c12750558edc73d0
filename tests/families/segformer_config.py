"""SegFormer's published configs, shrunk for tests."""

from pathlib import Path

from detectron2.config import CfgNode

from d2seg.config.loading import load_config

from .per_pixel import shrink


def small_config(repo_dir: Path, name: str = "ade20k_semantic_mit_b0") -> CfgNode:
    cfg = load_config(str(repo_dir / "configs" / "segformer" / f"{name}.yaml"))
    shrink(cfg)
    cfg.MODEL.MIT.EMBED_DIMS = [8, 16, 20, 32]
    cfg.MODEL.MIT.DEPTHS = [1, 1, 2, 1]
    cfg.MODEL.SEGFORMER.EMBED_DIM = 32
    return cfg
