"""What is asked of a model for the time of a call: one of its tasks, scores for labels, queries for
segments, windows for a whole picture."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor, nn

from ..mask_classification.segmentor import MaskClassificationSegmentor
from ..per_pixel.segmentor import PerPixelSegmentor
from .settings import TileSettings


@contextmanager
def task_asked_for(model: nn.Module, task: str) -> Iterator[None]:
    """Let mask-classification models below ``model``, built for several tasks, make the results of
    one alone; other models make what they always do."""
    changed = [
        (module, module.inference_settings)
        for module in model.modules()
        if isinstance(module, MaskClassificationSegmentor)
    ]
    for module, settings in changed:
        module.inference_settings = replace(settings, tasks=(task,))
    try:
        yield
    finally:
        for module, settings in changed:
            module.inference_settings = settings


@contextmanager
def scores_asked_for(model: nn.Module) -> Iterator[None]:
    """Let this project's models, and views of them, give scores, whatever their config asks for."""
    changed = []
    for module in model.modules():
        if isinstance(module, MaskClassificationSegmentor):
            settings = replace(module.inference_settings, semantic_output="scores")
        elif isinstance(module, PerPixelSegmentor):
            settings = replace(module.inference_settings, output="scores")
        elif hasattr(module, "semantic_output"):  # several views of one of them
            changed.append((module, "semantic_output", module.semantic_output))
            module.semantic_output = "scores"
            continue
        else:
            continue
        changed.append((module, "inference_settings", module.inference_settings))
        module.inference_settings = settings
    try:
        yield
    finally:
        for module, name, value in changed:
            setattr(module, name, value)


@contextmanager
def queries_asked_for(model: nn.Module, task: str) -> Iterator[None]:
    """Let a mask-classification model give its queries in place of results of a task, if it does
    that."""
    if not isinstance(model, MaskClassificationSegmentor):
        yield
        return
    before = model.inference_settings
    tasks = tuple(other for other in before.tasks if other != task)
    model.inference_settings = replace(before, tasks=tasks, keep_queries=task in before.tasks)
    try:
        yield
    finally:
        model.inference_settings = before


@contextmanager
def windows_asked_for(
    model: PerPixelSegmentor, tiles: TileSettings, size: tuple[int, int]
) -> Iterator[None]:
    """Let a per-pixel model that sees whole pictures see one of ``size`` in windows as large as a
    tile, whose logits are kept at its head's resolution; sliding windows of its own are tiles
    already."""
    before = model.inference_settings
    if before.mode == "slide" or (model.exported is not None and model.exported.size is not None):
        yield
        return
    step = model.size_divisibility
    # as large as whole tiles are padded to
    sides = tuple(-(-min(tiles.size, length) // step) * step for length in size)
    strides = tuple(min(side, tiles.size - tiles.overlap) for side in sides)
    model.inference_settings = replace(before, mode="slide", crop_size=sides, stride=strides)
    try:
        yield
    finally:
        model.inference_settings = before


def gives_logits(model: nn.Module) -> bool:
    """Whether semantic scores are logits, as detectron2's models and per-pixel ones give them; mask
    classification gives weighted sums of probabilities."""
    return not any(isinstance(module, MaskClassificationSegmentor) for module in model.modules())


def probabilities(scores: Tensor, are_logits: bool) -> Tensor:
    """(K, H, W), what may be averaged over views."""
    return scores.float().softmax(0) if are_logits else scores.float()
