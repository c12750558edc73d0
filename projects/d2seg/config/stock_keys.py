"""detectron2's own keys: each is read by the model and the loop that a config names, or refused.

A key that is set and that nobody reads trains another model than the one that was meant, without a
word. Keys are looked at for the models of this project, and for detectron2's R-CNN with PointRend's
mask heads; a meta-architecture of detectron2, or of one's own, reads what it likes.
"""

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from detectron2.config import CfgNode, get_cfg
from detectron2.projects.deeplab import add_deeplab_config

from ..registries import EVALUATORS, LR_SCHEDULERS, MAPPERS, OPTIMIZERS, SAMPLERS

# Patterns of keys; all of them are read, some only where another key asks for it.
# By the training loop, the loaders, the set-up and the evaluation, whatever the model is:
_OF_THE_LOOP = (
    *("VERSION", "OUTPUT_DIR", "SEED", "CUDNN_BENCHMARK", "SOLVER.*", "DATALOADER.*"),
    *("DATASETS.TRAIN", "DATASETS.TEST", "INPUT.FORMAT"),
    *("TEST.EXPECTED_RESULTS", "TEST.EVAL_PERIOD", "TEST.PRECISE_BN.*", "TEST.AUG.*"),
    *("MODEL.META_ARCHITECTURE", "MODEL.DEVICE", "MODEL.WEIGHTS", "MODEL.PIXEL_*"),
    *("MODEL.BACKBONE.*", "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "MODEL.SEM_SEG_HEAD.IGNORE_VALUE"),
)
_CROP = ("INPUT.RANDOM_FLIP", "INPUT.MASK_FORMAT", "INPUT.CROP.*")  # masks are bitmasks anyway
_OF_MAPPERS = {"referring": ("INPUT.RANDOM_FLIP",), "slice": ()}
_OF_AUGMENTATIONS = {
    "lsj": ("INPUT.RANDOM_FLIP", "INPUT.MASK_FORMAT", "INPUT.*_SIZE_TEST"),
    "fixed_size": _CROP,
}
_AUGMENTING_MAPPERS = ("semantic", "panoptic", "instance")
_RESNET = (
    *("MODEL.RESNETS.DEPTH", "MODEL.RESNETS.OUT_FEATURES", "MODEL.RESNETS.NUM_GROUPS"),
    *("MODEL.RESNETS.NORM", "MODEL.RESNETS.WIDTH_PER_GROUP", "MODEL.RESNETS.STRIDE_IN_1X1"),
    *("MODEL.RESNETS.RES5_DILATION", "MODEL.RESNETS.*_OUT_CHANNELS", "MODEL.RESNETS.DEFORM_*"),
)
_OF_BACKBONES: dict[str, tuple[str, ...]] = {
    "build_resnet_backbone": _RESNET,
    "build_resnet_deeplab_backbone": ("MODEL.RESNETS.*",),
    "build_resnet_fpn_backbone": (*_RESNET, "MODEL.FPN.*"),
    "build_fpn_backbone": ("MODEL.FPN.*",),  # and those of the backbone below
    "build_vit_pyramid_backbone": ("MODEL.FPN.OUT_CHANNELS",),
    **dict.fromkeys(
        (
            *("build_swin_backbone", "build_timm_backbone", "build_vit_backbone"),
            *("build_mit_backbone", "build_setr_mla_backbone", "build_topformer_backbone"),
            *("build_hybrid_vit_backbone", "build_dual_swin_backbone"),
        ),
        (),
    ),
}
_OF_OTHER_BACKBONES = ("MODEL.RESNETS.*", "MODEL.FPN.*")
_DECODE_HEAD = ("MODEL.SEM_SEG_HEAD.IN_FEATURES", "MODEL.SEM_SEG_HEAD.NORM")
_MASKS = (*_DECODE_HEAD, "MODEL.SEM_SEG_HEAD.CONVS_DIM", "TEST.DETECTIONS_PER_IMAGE")
_OF_MODELS: dict[str, tuple[str, ...]] = {
    "MaskFormer": _MASKS,
    "Mask2Former": _MASKS,
    "PointRendSemantic": ("MODEL.SEM_SEG_HEAD.*",),  # of the coarse head that it names
    "SegFormer": _DECODE_HEAD,
    "SETR": _DECODE_HEAD,
    "TopFormer": _DECODE_HEAD,
    "TransUNet": (),
    "DSTransUNet": (),
    "ReSTR": (),
}
_NORM_OF_BACKBONES = ("build_setr_mla_backbone", "build_topformer_backbone")
_POINT_HEADS = ("PointRendInstanceHead", "ImplicitPointRendInstanceHead")
_POINT_REND = (
    *("MODEL.LOAD_PROPOSALS", "MODEL.MASK_ON", "MODEL.KEYPOINT_ON", "VIS_PERIOD"),
    "TEST.KEYPOINT_OKS_SIGMAS",
    *("DATASETS.*", "TEST.DETECTIONS_PER_IMAGE", "MODEL.PROPOSAL_GENERATOR.*", "MODEL.RPN.*"),
    *("MODEL.ANCHOR_GENERATOR.*", "MODEL.ROI_HEADS.*", "MODEL.ROI_BOX_*", "MODEL.ROI_KEYPOINT_*"),
    *("MODEL.ROI_MASK_HEAD.NAME", "MODEL.ROI_MASK_HEAD.CONV_DIM", "MODEL.ROI_MASK_HEAD.POOLER_*"),
    "MODEL.ROI_MASK_HEAD.NUM_CONV",  # not read, but detectron2's Base-RCNN-FPN.yaml sets it
)
# What files compose: a base sets them for the part that it names, and a later one names another
# part. So these are looked at only where the command line or the file itself sets them.
_COMPOSED = ("MODEL.RESNETS.*", "MODEL.FPN.*", "INPUT.*_SIZE_*", "INPUT.CROP.*")
_INSTEAD = {
    "TEST.DETECTIONS_PER_IMAGE": "it is for models of the task instance",
    "MODEL.*.NUM_CLASSES": "its classes are MODEL.SEM_SEG_HEAD.NUM_CLASSES",
    "MODEL.*.SCORE_THRESH_TEST": "see MODEL.MASK_CLASSIFICATION.TEST.SCORE_THRESHOLD",
    "MODEL.PANOPTIC_FPN.*": "see MODEL.MASK_CLASSIFICATION.TEST",
    "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT": "see MODEL.PER_PIXEL.LOSS and MODEL.MASK_CLASSIFICATION",
    "MODEL.*_ON": "TEST.TASKS says what it gives",
    "INPUT.*SIZE*": "see INPUT.LSJ, INPUT.FIXED_SIZE, INPUT.REFERRING_SIZE, INPUT.SLICE_SIZE",
}


def check_stock_keys(cfg: CfgNode, said: Collection[str] = ()) -> None:
    """See that every key of detectron2 that has another value than detectron2's is read.

    Args:
        said: keys that the command line or the config file itself sets; the keys of a backbone and
            of sizes may otherwise come from a base that another one has overridden.

    Raises:
        ValueError: one is not; the message has the key, the value, who ignores it and the remedy.
    """
    read = read_keys(cfg)
    for key, default in stock_defaults().items():
        value = value_of(cfg, key)
        if _plain(value) == _plain(default) or _fits(key, read):
            continue
        if key in said or not _fits(key, _COMPOSED):
            instead = next((f"; {text}" for p, text in _INSTEAD.items() if _fits(key, [p])), "")
            raise ValueError(
                f"{key} is {value!r}, which nothing reads with {_chooser(cfg, key)}; leave it out, "
                f"or set it to {default!r}{instead}"
            )


def read_keys(cfg: CfgNode) -> tuple[str, ...]:
    """Patterns of detectron2's keys that are read with this config."""
    name, mask_head = cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_MASK_HEAD.NAME
    if name == "GeneralizedRCNN" and cfg.MODEL.MASK_ON and mask_head in _POINT_HEADS:
        of_model = _POINT_REND
    elif name in _OF_MODELS:
        of_model = _OF_MODELS[name]
    else:  # of detectron2 or of a user
        return (*stock_defaults(),)
    backbone = cfg.MODEL.BACKBONE.NAME
    of_backbone = _OF_BACKBONES.get(backbone, _OF_OTHER_BACKBONES)
    if backbone == "build_fpn_backbone":
        of_backbone += _OF_BACKBONES.get(cfg.MODEL.FPN.BOTTOM_UP, _OF_OTHER_BACKBONES)
    if backbone in _NORM_OF_BACKBONES:
        of_backbone += ("MODEL.SEM_SEG_HEAD.NORM",)
    of_mapper = _OF_MAPPERS.get(cfg.INPUT.MAPPER, ("INPUT.*",))
    if cfg.INPUT.MAPPER in _AUGMENTING_MAPPERS:
        of_mapper = _OF_AUGMENTATIONS.get(cfg.INPUT.AUGMENTATION, of_mapper)
    own = ("GLOBAL.*",) if _has_own_parts() else ()
    return (*_OF_THE_LOOP, *of_mapper, *of_backbone, *of_model, *own)


@cache
def stock_defaults() -> dict[str, Any]:
    """detectron2's keys, of its DeepLab project too, and their defaults."""
    cfg = get_cfg()
    add_deeplab_config(cfg)
    found: dict[str, Any] = {}

    def collect(node: CfgNode, prefix: str) -> None:
        for key, value in node.items():
            if isinstance(value, CfgNode):
                collect(value, f"{prefix}{key}.")
            else:
                found[prefix + key] = value

    collect(cfg, "")
    return found


def value_of(cfg: CfgNode, key: str) -> Any:
    """What ``cfg`` has under the full name of a key."""
    for part in key.split("."):
        cfg = cfg[part]
    return cfg


def _chooser(cfg: CfgNode, key: str) -> str:
    """The key that has chosen who does not read ``key``, with its value."""
    if key.startswith("INPUT."):
        is_augmenting = cfg.INPUT.MAPPER in _AUGMENTING_MAPPERS
        chooser = "INPUT.AUGMENTATION" if is_augmenting else "INPUT.MAPPER"
    elif key.startswith(("MODEL.RESNETS.", "MODEL.FPN.")):
        chooser = "MODEL.BACKBONE.NAME"
    else:
        chooser = "MODEL.META_ARCHITECTURE"
    return f"{chooser} {value_of(cfg, chooser)}"


def _fits(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _plain(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    return (
        [_plain(item) for item in value]
        if isinstance(value, Sequence | set) and not isinstance(value, str)
        else value
    )


def _has_own_parts() -> bool:
    """Whether a module of the user's has registered something, which GLOBAL.HACK may be for."""
    registries = (MAPPERS, SAMPLERS, OPTIMIZERS, LR_SCHEDULERS, EVALUATORS)
    return any(len(r.names()) > len(r.built_in) for r in registries)
