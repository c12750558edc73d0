"""Every configuration key that d2seg adds to detectron2's, with its default.

A method adds the node that only it reads, in its own ``config.py``; keys that several parts share
stand here. The defaults leave a stock detectron2 config as it is, so that the configs of its model
zoo run unchanged.
"""

from detectron2.config import CfgNode as CN
from detectron2.projects.deeplab import add_deeplab_config

from ..dstransunet.config import add_dstransunet_config
from ..mask2former.config import add_mask2former_config
from ..mask_classification.config import add_mask_classification_config
from ..maskformer.config import add_maskformer_config
from ..per_pixel.config import add_per_pixel_config
from ..pointrend.config import add_pointrend_config
from ..restr.config import add_restr_config
from ..segformer.config import add_segformer_config
from ..setr.config import add_setr_config
from ..topformer.config import add_topformer_config
from ..transunet.config import add_transunet_config


def add_d2seg_config(cfg: CN) -> None:
    """Add all keys of d2seg, and those of detectron2's DeepLab project, to ``cfg`` in place."""
    # stem and dilation keys of the R101c backbone, poly schedule, crop area
    add_deeplab_config(cfg)
    # modules that are imported when a file or pairs say this, not when a checkpoint does
    cfg.IMPORTS = []
    # files that declare data sets of one's own, see docs/own_data.md
    cfg.DATASETS.DECLARATIONS = ()
    _add_input_config(cfg)
    _add_solver_config(cfg)
    _add_test_config(cfg)
    _add_backbone_config(cfg)
    _add_point_head_config(cfg)
    add_mask_classification_config(cfg)
    add_per_pixel_config(cfg)
    add_segformer_config(cfg)
    add_setr_config(cfg)
    add_topformer_config(cfg)
    add_maskformer_config(cfg)
    add_transunet_config(cfg)
    add_dstransunet_config(cfg)
    add_pointrend_config(cfg)
    add_mask2former_config(cfg)
    add_restr_config(cfg)


def set_semantic_output(cfg: CN, output: str) -> None:
    """Let every model of this project give "scores" (K, H, W) or "labels" (H, W), in place."""
    cfg.MODEL.PER_PIXEL.TEST.OUTPUT = output
    cfg.MODEL.MASK_CLASSIFICATION.TEST.SEMANTIC_OUTPUT = output


def _add_input_config(cfg: CN) -> None:
    # "detectron2" (its DatasetMapper), "semantic", "instance", "panoptic", "slice" (of medical
    # volumes), "referring", or of registries.MAPPERS
    cfg.INPUT.MAPPER = "detectron2"
    # "picture" (Pillow's formats, as INPUT.FORMAT says), "bands" (TIFFs, .npy and others with as
    # many bands as MODEL.PIXEL_MEAN has values, of any type of numbers), or of registries.READERS
    cfg.INPUT.READER = "picture"
    # numbers, from 0, of the file's bands that the model sees, in its order; empty: all
    cfg.INPUT.BANDS = ()
    # the values in the files that become 0 and 255; empty: by the type of their numbers
    cfg.INPUT.VALUE_RANGE = ()
    # "resize_crop" (short edge, then crop), "lsj" (large-scale jitter),
    # "detr" (resize, or resize-crop-resize, at even odds) or "fixed_size"
    cfg.INPUT.AUGMENTATION = "resize_crop"
    # (height, width) that "fixed_size" resizes to in training and at test time, whatever the aspect
    cfg.INPUT.FIXED_SIZE = (512, 512)
    # (height, width) that test pictures are made to fit into, in the place of MIN_SIZE_TEST and
    # MAX_SIZE_TEST; empty: not. Set by exported files that take one size
    cfg.INPUT.FIT_SIZE_TEST = ()
    # photometric distortion of SSD (Liu et al. 2016, section 2.2)
    cfg.INPUT.COLOR_AUG_SSD = False
    # (height, width) that the training mapper pads to, right and bottom; empty: no padding there
    cfg.INPUT.PAD_SIZE = ()
    # (height, width) that the mapper "slice" zooms to, in training and at test time
    cfg.INPUT.SLICE_SIZE = (224, 224)
    # (height, width) that the mapper "referring" resizes to, in training and at test time (Kim et
    # al. 2022, section 4.1)
    cfg.INPUT.REFERRING_SIZE = (480, 480)
    # how many expressions of an image one training sample of the mapper "referring" has
    cfg.INPUT.EXPRESSIONS_PER_IMAGE = 1
    # large-scale jitter (Ghiasi et al. 2021): resize by a factor in [MIN_SCALE, MAX_SCALE] of the
    # square IMAGE_SIZE, then crop to it
    cfg.INPUT.LSJ = CN()
    cfg.INPUT.LSJ.IMAGE_SIZE = 1024
    cfg.INPUT.LSJ.MIN_SCALE = 0.1
    cfg.INPUT.LSJ.MAX_SCALE = 2.0


def _add_solver_config(cfg: CN) -> None:
    cfg.SOLVER.OPTIMIZER = "SGD"  # or "ADAMW", "MUON", or of registries.OPTIMIZERS
    # "MUON" takes matrices by Muon, all else by AdamW: the former's rate, relative to BASE_LR
    cfg.SOLVER.MUON_LR_FACTOR = 1.0
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
    # without --resume: move an earlier run's checkpoints in OUTPUT_DIR aside; else they end the run
    cfg.SOLVER.OVERWRITE = False


def _add_test_config(cfg: CN) -> None:
    # of "semantic", "instance", "panoptic", "referring": what the model outputs and the evaluators
    # score.
    # Empty: what a stock detectron2 meta-architecture does anyway.
    cfg.TEST.TASKS = []
    # of registries.EVALUATORS: what scores besides the evaluators of TEST.TASKS
    cfg.TEST.EVALUATORS = []
    # the semantic evaluator also scores the pixels that are at most so many pixels from a border
    # between two classes; 0: off
    cfg.TEST.BOUNDARY_WIDTH = 0
    # the semantic evaluator also gives Dice, IoU, precision and recall as means over images
    cfg.TEST.PER_IMAGE_METRICS = False
    # leave what report.html is made of beside the predictions, and write it (docs/reports.md)
    cfg.TEST.REPORT = True
    # pictures larger than a tile are seen in tiles of SIZE x SIZE pixels of the model's input, of
    # which neighbours share OVERLAP pixels; an object should fit in what they share, or nearly
    cfg.TEST.TILES = CN()
    cfg.TEST.TILES.ENABLED = False
    # pixels, or "auto": the largest for which the model takes at most MEMORY
    cfg.TEST.TILES.SIZE = 1024
    cfg.TEST.TILES.OVERLAP = 256
    # MiB that the model may take for a tile or, where tiles are off, for a picture, which is else
    # refused; 0: no limit
    cfg.TEST.TILES.MEMORY = 0
    # "fp32", "bf16" or "fp16": of the weights in --eval-only and in the demo
    cfg.TEST.DTYPE = "fp32"
    # "auto", "onnxruntime", "openvino" or "torch": who runs MODEL.WEIGHTS of an exported file
    cfg.TEST.RUNTIME = "auto"
    # e.g. "panoptic_seg/PQ": keeps model_best.pth and serves early stopping; empty: off
    cfg.TEST.BEST_METRIC = ""
    # stop after so many evaluations without a better BEST_METRIC; 0: off
    cfg.TEST.EARLY_STOPPING_PATIENCE = 0


def _add_backbone_config(cfg: CN) -> None:
    # where MODEL.PIXEL_MEAN has more values than pretrained weights have channels, the first
    # convolution's weights for the others: "mean" of those that are there, or "zero"
    cfg.MODEL.BACKBONE.NEW_CHANNELS = "mean"
    cfg.MODEL.SWIN = CN()
    cfg.MODEL.SWIN.PRETRAIN_IMG_SIZE = 224
    cfg.MODEL.SWIN.EMBED_DIM = 96
    cfg.MODEL.SWIN.DEPTHS = [2, 2, 6, 2]
    cfg.MODEL.SWIN.NUM_HEADS = [3, 6, 12, 24]
    cfg.MODEL.SWIN.WINDOW_SIZE = 7
    cfg.MODEL.SWIN.DROP_PATH_RATE = 0.3
    cfg.MODEL.SWIN.USE_CHECKPOINT = False
    cfg.MODEL.SWIN.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.VIT = CN()
    cfg.MODEL.VIT.NAME = "vit_large_patch16_384"  # any plain vision transformer of timm
    cfg.MODEL.VIT.PRETRAINED = False  # True: timm loads its own weights
    cfg.MODEL.VIT.IMG_SIZE = (512, 512)  # (height, width) of the position embedding
    cfg.MODEL.VIT.PATCH_SIZE = 0  # 0: the model's own
    cfg.MODEL.VIT.DEPTH = 0  # 0: the model's own
    cfg.MODEL.VIT.CLASS_TOKEN = True
    cfg.MODEL.VIT.DROP_PATH_RATE = 0.0
    cfg.MODEL.VIT.NORM_EPS = 0.0  # of the blocks' layer norms; 0: the model's own (1e-6)
    cfg.MODEL.VIT.USE_CHECKPOINT = False
    cfg.MODEL.VIT.OUT_FEATURES = ["block10", "block15", "block20", "block24"]  # after n blocks
    # what BACKBONE.NAME build_fpn_backbone builds the pyramid on: the name of another backbone
    cfg.MODEL.FPN.BOTTOM_UP = "build_timm_backbone"
    cfg.MODEL.TIMM = CN()
    cfg.MODEL.TIMM.NAME = "convnext_tiny"  # any timm model that supports features_only
    cfg.MODEL.TIMM.PRETRAINED = False  # True: timm loads its own weights
    cfg.MODEL.TIMM.OUT_FEATURES = ["res2", "res3", "res4", "res5"]


def _add_point_head_config(cfg: CN) -> None:
    """PointRend's point head, for instances and for any per-pixel method; the defaults are those of
    instances (Kirillov et al. 2020, section 4.1)."""
    cfg.MODEL.POINT_HEAD = node = CN()
    # puts it behind the decode head of a per-pixel method; PointRend for instances always has it
    node.ENABLED = False
    # feature maps of the backbone that give the fine features, joined along their channels
    node.IN_FEATURES = ["p2"]
    node.FC_DIM = 256
    node.NUM_FC = 3
    node.COARSE_PRED_EACH_LAYER = True  # or the coarse prediction joins the first layer's input
    node.TRAIN_NUM_POINTS = 196
    node.OVERSAMPLE_RATIO = 3.0  # k of section 3.1
    node.IMPORTANCE_SAMPLE_RATIO = 0.75  # beta of section 3.1
    node.SUBDIVISION_STEPS = 5
    node.SUBDIVISION_NUM_POINTS = 784
