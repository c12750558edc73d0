"""Keys that only TopFormer reads. The defaults are TopFormer-Base (its authors' settings)."""

from detectron2.config import CfgNode as CN


def add_topformer_config(cfg: CN) -> None:
    cfg.MODEL.TOPFORMER = node = CN()
    # inverted residuals of the token pyramid, behind a stem of stride 2:
    # [kernel size, expansion, channels, stride]
    node.PYRAMID_BLOCKS = [
        [3, 1, 16, 1],
        [3, 4, 32, 2],
        [3, 3, 32, 1],
        [5, 3, 64, 2],
        [5, 3, 64, 1],
        [3, 3, 128, 2],
        [3, 3, 128, 1],
        [5, 6, 160, 2],
        [5, 6, 160, 1],
        [3, 6, 160, 1],
    ]
    node.DEPTH = 4  # transformer blocks
    node.NUM_HEADS = 8
    node.KEY_DIM = 16  # of queries and keys, per head; values have twice as many
    node.DROP_PATH_RATE = 0.1
    node.OUT_DIM = 256  # channels behind the injection of the semantics, and of the head
    node.OUT_FEATURES = ["res3", "res4", "res5"]  # tokens that the semantics are injected into
    node.DEPTHWISE_HEAD = False  # Tiny: the head scales and shifts each channel instead of mixing
