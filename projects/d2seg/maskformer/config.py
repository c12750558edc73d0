"""Keys that only MaskFormer and its per-pixel baselines read."""

from detectron2.config import CfgNode as CN


def add_maskformer_config(cfg: CN) -> None:
    cfg.MODEL.MASKFORMER = node = CN()
    node.HIDDEN_DIM = 256
    node.NUM_HEADS = 8
    node.DIM_FEEDFORWARD = 2048
    node.DROPOUT = 0.1
    node.PRE_NORM = False
    # layers of the transformer encoder on res5 in the pixel decoder; 0: the plain FPN one
    node.NUM_PIXEL_ENCODER_LAYERS = 0
    node.NUM_DECODER_LAYERS = 6
