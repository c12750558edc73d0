"""Keys that only SegFormer reads."""

from detectron2.config import CfgNode as CN


def add_segformer_config(cfg: CN) -> None:
    cfg.MODEL.SEGFORMER = node = CN()
    node.EMBED_DIM = 256  # of the head; 768 for B2 to B5
