"""Keys of SegFormer and its backbone."""

from detectron2.config import CfgNode as CN


def add_segformer_config(cfg: CN) -> None:
    cfg.MODEL.SEGFORMER = node = CN()
    node.EMBED_DIM = 256  # of the head; 768 for B2 to B5
    node.LEVEL_NORMS = False  # as mmsegmentation: a norm and a ReLU on each level
    cfg.MODEL.MIT = CN()  # B0; see table 6 of the SegFormer paper for the others
    cfg.MODEL.MIT.EMBED_DIMS = [32, 64, 160, 256]
    cfg.MODEL.MIT.DEPTHS = [2, 2, 2, 2]
    cfg.MODEL.MIT.NUM_HEADS = [1, 2, 5, 8]
    cfg.MODEL.MIT.REDUCTIONS = [8, 4, 2, 1]  # of each side of the map that is attended to
    cfg.MODEL.MIT.MLP_RATIO = 4.0
    cfg.MODEL.MIT.DROP_PATH_RATE = 0.1
    cfg.MODEL.MIT.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
