"""Keys that only Mask2Former reads."""

from detectron2.config import CfgNode as CN


def add_mask2former_config(cfg: CN) -> None:
    cfg.MODEL.MASK2FORMER = node = CN()
    # masked-attention decoder
    node.HIDDEN_DIM = 256
    node.NUM_HEADS = 8  # also of the pixel decoder's encoder
    node.DIM_FEEDFORWARD = 2048
    node.NUM_DECODER_LAYERS = 9
    node.NUM_SCALES = 3  # features that the layers attend to in turn, coarse to fine
    node.DROPOUT = 0.0  # also of the pixel decoder's encoder
    node.PRE_NORM = False
    # "deformable" (transformer encoder with multi-scale deformable attention) or "fpn"
    node.PIXEL_DECODER = "deformable"
    # of SEM_SEG_HEAD.IN_FEATURES those that the encoder works on; finer ones join through an FPN
    node.ENCODER_IN_FEATURES = ["res3", "res4", "res5"]
    node.NUM_PIXEL_ENCODER_LAYERS = 6
    node.PIXEL_ENCODER_DIM_FEEDFORWARD = 1024
    node.NUM_SAMPLING_POINTS = 4  # per query, head and level
    # "auto", or an implementation's name, see layers/deformable_attention
    node.DEFORMABLE_ATTENTION = "auto"
    # recompute the layers' activations in the backward pass: less memory, more time
    node.CHECKPOINT_ACTIVATIONS = False
    # points at which the mask losses and the matching are evaluated, and how the former are chosen
    node.NUM_LOSS_POINTS = 12544
    node.OVERSAMPLE_RATIO = 3.0
    node.IMPORTANCE_SAMPLE_RATIO = 0.75
    former = "MODEL.MASK2FORMER.IMPORTANCE_RATIO"
    if not cfg.key_is_renamed(former):
        cfg.register_renamed_key(former, "MODEL.MASK2FORMER.IMPORTANCE_SAMPLE_RATIO")
