"""The keys that ReSTR alone reads; the defaults are the paper's (Kim et al. 2022, section 4.1)."""

from detectron2.config import CfgNode as CN


def add_restr_config(cfg: CN) -> None:
    cfg.MODEL.RESTR = node = CN()
    node.IN_FEATURE = "block12"  # the backbone's feature map that meets the language
    # sine position encoding on that map, for backbones without positions of their own
    node.ADD_POSITIONS = False
    node.TEXT = CN()
    # a file with one word per line. Empty: in training the words of the training sets, at
    # inference those that the checkpoint holds
    node.TEXT.VOCABULARY = ""
    # initial word vectors: GloVe's text format, or npy with a row per word; empty: random
    node.TEXT.WORD_VECTORS = ""
    node.TEXT.MAX_TOKENS = 20  # words beyond are cut
    node.TEXT.EMBED_DIM = 300
    node.TEXT.DEPTH = 6
    node.TEXT.NUM_HEADS = 12
    node.TEXT.MLP_RATIO = 4.0
    node.TEXT.MASK_PADDING = False  # True: no token attends to padding; the authors' code lets it
    node.TEXT.DROPOUT = 0.0
    node.FUSION = CN()
    node.FUSION.DIM = 768
    node.FUSION.DEPTH = 2  # of each of the two encoders
    node.FUSION.NUM_HEADS = 12
    node.FUSION.MLP_RATIO = 4.0
    node.FUSION.SHARE_WEIGHTS = False  # one encoder for both, the paper's light variant
    node.FUSION.NORMALIZE = True  # both streams have unit length before they are projected
    node.DECODER_DIMS = [768, 384, 192, 96]  # one for each doubling of the resolution
    node.LOSS = CN()
    node.LOSS.MASK_WEIGHT = 1.0
    node.LOSS.PATCH_WEIGHT = 0.1
    node.LOSS.DICE_WEIGHT = 0.0  # not in the paper: dice of whole masks
    node.TEST = CN()
    node.TEST.MASK_THRESHOLD = 0.5
    # masks of fewer pixels are emptied: no such object (50 in Liu et al. 2023, section 3.2)
    node.TEST.MIN_PIXELS = 0
