"""From a config to the wrappers around a model."""

from collections.abc import Callable

from detectron2.config import CfgNode
from detectron2.modeling import PanopticFPN
from torch import nn

from ..mask_classification.segmentor import MaskClassificationSegmentor
from .settings import TileSettings, ViewSettings
from .tiled_model import TiledModel
from .viewed_model import ViewedModel


def check_views(cfg: CfgNode, tasks: tuple[str, ...]) -> None:
    """See that TEST.TILES and TEST.AUG make sense, by themselves and for the model.

    Args:
        tasks: of ``tasks_of(cfg)``: what the model is asked for.

    Raises:
        ValueError: they do not.
    """
    if cfg.TEST.TILES.ENABLED:
        _tile_settings(cfg)
        _check_kind(cfg, "TEST.TILES", tasks)
    if cfg.TEST.AUG.ENABLED:
        _view_settings(cfg)
        _check_kind(cfg, "TEST.AUG", tasks)
        _check_augmentation(cfg, tasks)


def with_views(
    cfg: CfgNode, model: nn.Module, tasks_of: Callable[[CfgNode], tuple[str, ...]]
) -> nn.Module:
    """The model in tiles and on several views, as TEST.TILES and TEST.AUG say; itself where both
    are off.

    Pictures are to come as the config's loaders give them: at their own size with TEST.AUG (see
    ``data.augmentation.reading_config``), else resized.

    Args:
        tasks_of: what the config asks a model for; called where one of them is on.

    Raises:
        ValueError: as :func:`check_views`; tiles are smaller than the model can take, or its
            panoptic results cannot be merged over views.
    """
    if not (cfg.TEST.TILES.ENABLED or cfg.TEST.AUG.ENABLED):
        return model
    tasks = tasks_of(cfg)
    check_views(cfg, tasks)
    output = "scores"
    if any(isinstance(module, MaskClassificationSegmentor) for module in model.modules()):
        output = cfg.MODEL.MASK_CLASSIFICATION.TEST.SEMANTIC_OUTPUT
    elif hasattr(model, "decode_head"):
        output = cfg.MODEL.PER_PIXEL.TEST.OUTPUT
    divisibility = getattr(
        model,
        "size_divisibility",
        getattr(getattr(model, "backbone", None), "size_divisibility", 1),
    )
    if cfg.TEST.AUG.ENABLED:
        is_mask_classification = isinstance(model, MaskClassificationSegmentor)
        if "panoptic" in tasks and not (is_mask_classification or isinstance(model, PanopticFPN)):
            raise ValueError(
                "TEST.AUG.ENABLED merges panoptic results of MaskFormer, Mask2Former and "
                f"PanopticFPN, not of {type(model).__name__}; set it to False, or TEST.TASKS to "
                "others"
            )
        model = ViewedModel(model, _view_settings(cfg), tasks=tasks, semantic_output=output)
    if cfg.TEST.TILES.ENABLED:  # around the views: those of a tile are merged before its neighbours
        settings = _tile_settings(cfg)
        settings.check_divisibility(divisibility)
        model = TiledModel(model, settings, semantic_output=output)
    return model


def _tile_settings(cfg: CfgNode) -> TileSettings:
    return TileSettings(cfg.TEST.TILES.SIZE, cfg.TEST.TILES.OVERLAP)


def _view_settings(cfg: CfgNode) -> ViewSettings:
    node = cfg.TEST.AUG
    return ViewSettings(tuple(node.MIN_SIZES), node.MAX_SIZE, node.FLIP)


def _check_kind(cfg: CfgNode, key: str, tasks: tuple[str, ...]) -> None:
    what = ""
    if "referring" in tasks:
        what = "the task referring, whose expressions speak of the whole picture"
    elif cfg.INPUT.MAPPER == "slice":
        what = "INPUT.MAPPER slice, which brings slices to the model's size"
    elif cfg.MODEL.KEYPOINT_ON:
        what = "keypoints"
    elif cfg.MODEL.LOAD_PROPOSALS:
        what = "proposals from files"
    if what:
        raise ValueError(f"{key}.ENABLED is not for {what}; set it to False")


def _check_augmentation(cfg: CfgNode, tasks: tuple[str, ...]) -> None:
    own = cfg.MODEL.PER_PIXEL.TEST
    if own.FLIP or list(own.SCALES) != [1.0]:
        raise ValueError(
            f"TEST.AUG.ENABLED is True and MODEL.PER_PIXEL.TEST has SCALES {list(own.SCALES)} and "
            f"FLIP {own.FLIP}, which is the same a second time; choose one"
        )
    if cfg.INPUT.AUGMENTATION == "fixed_size":
        raise ValueError(
            "TEST.AUG.ENABLED is not for INPUT.AUGMENTATION fixed_size, whose model takes one "
            "size; set MODEL.PER_PIXEL.TEST.FLIP for mirror images"
        )
    if cfg.MODEL.META_ARCHITECTURE == "PanopticDeepLab" and tuple(tasks) != ("semantic",):
        raise ValueError(
            "TEST.AUG.ENABLED merges nothing but labels of PanopticDeepLab; set TEST.TASKS to "
            "['semantic'], or TEST.AUG.ENABLED to False"
        )
