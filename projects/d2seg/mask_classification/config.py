"""Keys that every mask-classification method reads (MaskFormer, Mask2Former)."""

from detectron2.config import CfgNode as CN


def add_mask_classification_config(cfg: CN) -> None:
    cfg.MODEL.MASK_CLASSIFICATION = node = CN()
    node.NUM_QUERIES = 100
    node.MASK_DIM = 256  # channels of the per-pixel embedding
    node.SIZE_DIVISIBILITY = 32  # the batch is padded to a multiple of this and of the backbone's
    # loss terms and their weights; the matcher uses the same ones
    node.CLASS_WEIGHT = 1.0
    node.MASK_WEIGHT = 20.0
    node.DICE_WEIGHT = 1.0
    node.NO_OBJECT_WEIGHT = 0.1
    node.MASK_LOSS = "focal"  # or "bce"
    node.DEEP_SUPERVISION = True
    # inference; TEST.TASKS says which outputs are made
    node.TEST = CN()
    node.TEST.OBJECT_MASK_THRESHOLD = 0.8  # panoptic: queries whose class score is not above go
    # panoptic: least number of pixels that a query wins, relative to the area of its own mask
    node.TEST.OVERLAP_THRESHOLD = 0.8
    # semantic: "scores" (K, H, W) as in detectron2; "labels" (H, W), in less memory and time, for
    # which this project's scripts ask
    node.TEST.SEMANTIC_OUTPUT = "scores"
    node.TEST.MAX_INSTANCES = (
        100  # instance: top-k over queries x classes; TEST.DETECTIONS_PER_IMAGE does the same
    )
    node.TEST.SCORE_THRESHOLD = 0.0  # instance: detections below are dropped
