"""Keys that only SETR reads."""

from detectron2.config import CfgNode as CN


def add_setr_config(cfg: CN) -> None:
    cfg.MODEL.SETR = node = CN()
    node.HEAD = "naive"  # or "pup", "mla"; the decode head takes SEM_SEG_HEAD.IN_FEATURES
    # features with an auxiliary head
    node.AUX_IN_FEATURES = ["block10", "block15", "block20"]
    # channels of the heads' convolutions, and of the maps of build_setr_mla_backbone
    node.HIDDEN_DIM = 256
    node.MLA_STREAM_DIM = 128  # of each stream in the MLA head
