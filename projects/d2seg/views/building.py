"""From a config to the wrappers around a model."""

import logging
from collections.abc import Callable

from detectron2.config import CfgNode
from detectron2.modeling import PanopticFPN
from torch import nn

from ..mask_classification.segmentor import MaskClassificationSegmentor
from .memory import STEP, BudgetedModel, MemoryEstimate, largest_tile
from .settings import TileSettings, ViewSettings, check_memory
from .tiled_model import TiledModel
from .tiles import MAX_MASK_FACTOR
from .viewed_model import ViewedModel

logger = logging.getLogger(__name__)


def check_views(cfg: CfgNode, tasks: tuple[str, ...]) -> None:
    """See that TEST.TILES and TEST.AUG make sense, by themselves and for the model.

    Args:
        tasks: of ``tasks_of(cfg)``: what the model is asked for.

    Raises:
        ValueError: they do not.
    """
    check_memory(cfg.TEST.TILES.MEMORY)
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
    if not (cfg.TEST.TILES.ENABLED or cfg.TEST.AUG.ENABLED or cfg.TEST.TILES.MEMORY):
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
    plain = model.model if isinstance(model, ViewedModel) else model
    if cfg.TEST.TILES.ENABLED:  # around the views: those of a tile are merged before its neighbours
        needs_masks = not {"instance", "panoptic"}.isdisjoint(tasks)
        settings = _chosen_tiles(cfg, plain, divisibility, needs_masks)
        settings.check_divisibility(divisibility)
        model = TiledModel(model, settings, semantic_output=output, needs_masks=needs_masks)
    elif cfg.TEST.TILES.MEMORY and _can_be_counted(cfg, plain, tasks):
        model = BudgetedModel(model, cfg.TEST.TILES.MEMORY, len(cfg.MODEL.PIXEL_MEAN))
    return model


def _can_be_counted(cfg: CfgNode, model: nn.Module, tasks: tuple[str, ...]) -> bool:
    """Whether noise of any size may be shown to a model: not where it takes one size, or more than
    a picture, or is no model of PyTorch."""
    is_of_one_size = cfg.INPUT.AUGMENTATION == "fixed_size" or "referring" in tasks
    is_exported = getattr(model, "exported", None) is not None
    return not (is_of_one_size or is_exported or cfg.MODEL.LOAD_PROPOSALS)


def _chosen_tiles(
    cfg: CfgNode, model: nn.Module, divisibility: int, needs_masks: bool
) -> TileSettings:
    """TEST.TILES for a model without its views, "auto" being the largest tile that fits."""
    node = cfg.TEST.TILES
    if node.SIZE != "auto":
        return _tile_settings(cfg)
    if getattr(model, "exported", None) is not None:
        raise ValueError(
            "TEST.TILES.SIZE is 'auto', which counts the memory of a model of PyTorch; for an "
            "exported file set a number of pixels"
        )
    factor = MAX_MASK_FACTOR if needs_masks and _resizes(cfg) else 1
    estimate = MemoryEstimate(model, len(cfg.MODEL.PIXEL_MEAN), factor)
    side = largest_tile(estimate, node.MEMORY, node.OVERLAP, divisibility)
    logger.info(
        f"TEST.TILES.SIZE auto: tiles of {side} pixels, for which the model takes about "
        f"{estimate.mib(side, side):.0f} of {node.MEMORY} MiB"
    )
    return TileSettings(side, node.OVERLAP)


def _resizes(cfg: CfgNode) -> bool:
    """Whether pictures may be shown in another size than their own."""
    resizes = cfg.INPUT.MIN_SIZE_TEST != 0 or cfg.INPUT.AUGMENTATION == "fixed_size"
    return not cfg.TEST.AUG.ENABLED and (resizes or len(cfg.INPUT.FIT_SIZE_TEST) > 0)


def _tile_settings(cfg: CfgNode) -> TileSettings:
    """TEST.TILES, checked; where SIZE is "auto", the smallest that may be chosen."""
    node = cfg.TEST.TILES
    if node.SIZE != "auto":
        return TileSettings(node.SIZE, node.OVERLAP)
    if not node.MEMORY:
        raise ValueError(
            "TEST.TILES.SIZE is 'auto' and MEMORY 0; set MEMORY to the MiB that the model may take"
        )
    return TileSettings(max(STEP, 2 * node.OVERLAP), node.OVERLAP)


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
