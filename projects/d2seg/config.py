"""Every configuration key that d2seg adds to detectron2's, with its default.

A method adds the node that only it reads, in its own ``config.py``; keys that several parts share
stand here. The defaults leave a stock detectron2 config as it is, so that the configs of its model
zoo run unchanged.
"""

from detectron2.config import CfgNode as CN
from detectron2.projects.deeplab import add_deeplab_config

from .mask_classification.config import add_mask_classification_config
from .maskformer.config import add_maskformer_config


def add_d2seg_config(cfg: CN) -> None:
    """Add all keys of d2seg, and those of detectron2's DeepLab project, to ``cfg`` in place."""
    add_deeplab_config(
        cfg
    )  # stem and dilation keys of the R101c backbone, poly schedule, crop area
    # files that declare data sets of one's own, see docs/own_data.md
    cfg.DATASETS.DECLARATIONS = ()
    _add_input_config(cfg)
    _add_solver_config(cfg)
    _add_test_config(cfg)
    _add_backbone_config(cfg)
    add_mask_classification_config(cfg)
    add_maskformer_config(cfg)


def _add_input_config(cfg: CN) -> None:
    # "detectron2" (its DatasetMapper), "semantic", "instance" or "panoptic"
    cfg.INPUT.MAPPER = "detectron2"
    # "resize_crop" (short edge, then crop), "lsj" (large-scale jitter) or
    # "detr" (resize, or resize-crop-resize, at even odds)
    cfg.INPUT.AUGMENTATION = "resize_crop"
    # photometric distortion of SSD (Liu et al. 2016, section 2.2)
    cfg.INPUT.COLOR_AUG_SSD = False
    # (height, width) that the training mapper pads to, right and bottom; empty: no padding there
    cfg.INPUT.PAD_SIZE = ()
    # large-scale jitter (Ghiasi et al. 2021): resize by a factor in [MIN_SCALE, MAX_SCALE] of the
    # square IMAGE_SIZE, then crop to it
    cfg.INPUT.LSJ = CN()
    cfg.INPUT.LSJ.IMAGE_SIZE = 1024
    cfg.INPUT.LSJ.MIN_SCALE = 0.1
    cfg.INPUT.LSJ.MAX_SCALE = 2.0


def _add_solver_config(cfg: CN) -> None:
    cfg.SOLVER.OPTIMIZER = "SGD"  # or "ADAMW"
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0  # embeddings and relative position tables
    cfg.SOLVER.BACKBONE_MULTIPLIER = 1.0  # learning rate of the backbone, relative to BASE_LR
    cfg.SOLVER.AMP.DTYPE = "fp16"  # or "bf16"; SOLVER.AMP.ENABLED is the switch
    # backward passes per optimizer step; IMS_PER_BATCH is the total of one optimizer step
    cfg.SOLVER.ACCUMULATE_STEPS = 1
    # One switch: when IMS_PER_BATCH is r times REFERENCE_BATCH_SIZE, the learning rate is
    # multiplied by r and the schedule (MAX_ITER, STEPS, WARMUP_ITERS, periods) divided by r.
    cfg.SOLVER.AUTO_SCALE = CN()
    cfg.SOLVER.AUTO_SCALE.ENABLED = False
    cfg.SOLVER.AUTO_SCALE.REFERENCE_BATCH_SIZE = 16
    # exponential moving average of the weights, evaluated and saved beside the raw ones
    cfg.SOLVER.EMA = CN()
    cfg.SOLVER.EMA.ENABLED = False
    cfg.SOLVER.EMA.DECAY = 0.9998
    # a step with a non-finite loss or gradient is skipped and counted; so many in a row end the run
    cfg.SOLVER.MAX_BAD_STEPS = 20


def _add_test_config(cfg: CN) -> None:
    # of "semantic", "instance", "panoptic": what the model outputs and the evaluators score.
    # Empty: what a stock detectron2 meta-architecture does anyway.
    cfg.TEST.TASKS = []
    # e.g. "panoptic_seg/PQ": keeps model_best.pth and serves early stopping; empty: off
    cfg.TEST.BEST_METRIC = ""
    # stop after so many evaluations without a better BEST_METRIC; 0: off
    cfg.TEST.EARLY_STOPPING_PATIENCE = 0


def _add_backbone_config(cfg: CN) -> None:
    cfg.MODEL.SWIN = CN()
    cfg.MODEL.SWIN.PRETRAIN_IMG_SIZE = 224
    cfg.MODEL.SWIN.EMBED_DIM = 96
    cfg.MODEL.SWIN.DEPTHS = [2, 2, 6, 2]
    cfg.MODEL.SWIN.NUM_HEADS = [3, 6, 12, 24]
    cfg.MODEL.SWIN.WINDOW_SIZE = 7
    cfg.MODEL.SWIN.DROP_PATH_RATE = 0.3
    cfg.MODEL.SWIN.USE_CHECKPOINT = False
    cfg.MODEL.SWIN.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.TIMM = CN()
    cfg.MODEL.TIMM.NAME = "convnext_tiny"  # any timm model that supports features_only
    cfg.MODEL.TIMM.PRETRAINED = False  # True: timm loads its own weights
    cfg.MODEL.TIMM.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
