"""Keys of TransUNet and its backbone."""

from detectron2.config import CfgNode as CN


def add_transunet_config(cfg: CN) -> None:
    cfg.MODEL.TRANSUNET = node = CN()
    # the backbone's maps that the decoder joins, by stride; empty: none, as with a pure ViT
    node.SKIP_FEATURES = ["stem", "res2", "res3"]
    node.HEAD_CHANNELS = 512  # after the decoder's first convolution
    node.DECODER_CHANNELS = [256, 128, 64, 16]  # at strides 8, 4, 2 and 1
    cfg.MODEL.HYBRID_VIT = CN()
    cfg.MODEL.HYBRID_VIT.CNN_DEPTHS = [3, 4, 9]  # of ResNetV2 up to stride 16; empty: no ResNet
    cfg.MODEL.HYBRID_VIT.CNN_WIDTH = 64  # channels of its root
    cfg.MODEL.HYBRID_VIT.IMAGE_SIZE = 224  # side of the training images: the grid of positions
    cfg.MODEL.HYBRID_VIT.EMBED_DIM = 768
    cfg.MODEL.HYBRID_VIT.DEPTH = 12
    cfg.MODEL.HYBRID_VIT.NUM_HEADS = 12
    cfg.MODEL.HYBRID_VIT.MLP_RATIO = 4.0
    cfg.MODEL.HYBRID_VIT.DROPOUT = 0.1
    cfg.MODEL.HYBRID_VIT.USE_CHECKPOINT = False
