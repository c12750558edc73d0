"""Keys that only DS-TransUNet reads."""

from detectron2.config import CfgNode as CN


def add_dstransunet_config(cfg: CN) -> None:
    cfg.MODEL.DS_TRANSUNET = node = CN()
    node.WINDOW_SIZE = 7  # of all Swin blocks, in the encoders and in the decoder
    node.NUM_GROUPS = 32  # of all group norms
    node.USE_CHECKPOINT = False  # of the encoders' activations
    # the encoder on patches of 4 x 4 pixels, a Swin-B, and that on patches of 8 x 8, a Swin-T
    node.FINE = _encoder(128, [2, 2, 18, 2], [4, 8, 16, 32], 0.5)
    node.COARSE = _encoder(96, [2, 2, 6, 2], [3, 6, 12, 24], 0.2)
    # the transformer layers that join both, one for each encoder at each of the four stages
    node.FUSION = CN()
    node.FUSION.FINE = _fusion_layer(1, 64, 256)
    node.FUSION.COARSE = _fusion_layer(3, 32, 128)
    node.DECODER = CN()
    # heads at strides 16, 8 and 4, where the decoder has two Swin blocks each
    node.DECODER.NUM_HEADS = [8, 4, 2]
    node.DECODER.DROP_PATH_RATE = 0.2  # of the second block; the first has none
    node.LOSS = CN()
    node.LOSS.MAIN_WEIGHT = 0.6  # of the final logits' loss; PER_PIXEL.AUX_WEIGHT is the others'
    node.LOSS.IOU_WEIGHT = 1.0  # beside PER_PIXEL.LOSS.CE_WEIGHT
    # each training batch is resized by one of these factors, drawn at random
    node.TRAIN_SCALES = [1.0]


def _encoder(embed_dim: int, depths: list[int], num_heads: list[int], drop_path_rate: float) -> CN:
    node = CN()
    node.EMBED_DIM = embed_dim
    node.DEPTHS = depths
    node.NUM_HEADS = num_heads
    node.DROP_PATH_RATE = drop_path_rate
    return node


def _fusion_layer(num_heads: int, head_dim: int, mlp_dim: int) -> CN:
    node = CN()
    node.NUM_HEADS = num_heads
    node.HEAD_DIM = head_dim
    node.MLP_DIM = mlp_dim
    return node
