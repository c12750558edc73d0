"""Keys that every per-pixel method reads (SETR, SegFormer, TransUNet, TopFormer)."""

from detectron2.config import CfgNode as CN


def add_per_pixel_config(cfg: CN) -> None:
    cfg.MODEL.PER_PIXEL = node = CN()
    # training batches are padded, and whole images at inference brought, to a multiple of this and
    # of what the backbone asks for
    node.SIZE_DIVISIBILITY = 32
    # of whole channels, before the classifier of SegFormer's and TopFormer's heads
    node.DROPOUT = 0.1
    node.AUX_WEIGHT = 0.4  # of each auxiliary head's loss; they are dropped at inference
    node.LOSS = CN()
    node.LOSS.CE_WEIGHT = 1.0
    node.LOSS.DICE_WEIGHT = 0.0
    node.LOSS.CLASS_WEIGHTS = []  # of the cross-entropy, one per class; empty: all 1
    # online hard example mining (Shrivastava et al. 2016) over pixels: the cross-entropy counts
    # those whose class has a probability below THRESHOLD, and at least MIN_KEPT per image, which
    # are chosen from the whole batch
    node.LOSS.OHEM = CN()
    node.LOSS.OHEM.ENABLED = False
    node.LOSS.OHEM.THRESHOLD = 0.7
    node.LOSS.OHEM.MIN_KEPT = 100_000
    node.TEST = CN()
    node.TEST.MODE = "whole"  # or "slide"
    node.TEST.CROP_SIZE = (512, 512)  # (height, width) of a sliding window
    node.TEST.STRIDE = (341, 341)  # from one window to the next
    node.TEST.MAX_WINDOWS = 4  # that go through the model at once; on a CPU fewer large ones
    # how a whole image comes to a multiple of SIZE_DIVISIBILITY: "pad" or "resize"
    node.TEST.ALIGN = "pad"
    # test-time augmentation: mean of the probabilities over sizes and mirror images
    node.TEST.SCALES = [1.0]
    node.TEST.FLIP = False
    # "scores" (K, H, W) as in detectron2; "labels" (H, W), in a fraction of memory and time, for
    # which this project's scripts ask
    node.TEST.OUTPUT = "scores"
