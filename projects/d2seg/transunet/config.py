"""Keys that only TransUNet reads."""

from detectron2.config import CfgNode as CN


def add_transunet_config(cfg: CN) -> None:
    cfg.MODEL.TRANSUNET = node = CN()
    # the backbone's maps that the decoder joins, by stride; empty: none, as with a pure ViT
    node.SKIP_FEATURES = ["stem", "res2", "res3"]
    node.HEAD_CHANNELS = 512  # after the decoder's first convolution
    node.DECODER_CHANNELS = [256, 128, 64, 16]  # at strides 8, 4, 2 and 1
