"""SETR's published configs, shrunk for tests."""

from pathlib import Path

from detectron2.config import CfgNode

from d2seg.config.loading import load_config

from .per_pixel import shrink


def small_config(repo_dir: Path, head: str = "naive") -> CfgNode:
    """A ViT of four blocks, each of which has its heads."""
    cfg = load_config(str(repo_dir / f"configs/setr/ade20k_semantic_{head}_vit_large.yaml"))
    shrink(cfg)
    blocks = [f"block{n}" for n in range(1, 5)]
    cfg.MODEL.VIT.NAME = "vit_tiny_patch16_224"
    cfg.MODEL.VIT.DEPTH = 4
    cfg.MODEL.VIT.IMG_SIZE = (64, 96)
    cfg.MODEL.VIT.OUT_FEATURES = blocks
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = blocks if head == "mla" else blocks[-1:]
    cfg.MODEL.SETR.AUX_IN_FEATURES = blocks[:3] if head == "naive" else blocks
    cfg.MODEL.SETR.HIDDEN_DIM = 16
    cfg.MODEL.SETR.MLA_STREAM_DIM = 8
    cfg.MODEL.PER_PIXEL.TEST.CROP_SIZE = (64, 96)
    cfg.MODEL.PER_PIXEL.TEST.STRIDE = (48, 64)
    return cfg
