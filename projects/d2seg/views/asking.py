"""What is asked of a model for the time of a call: one of its tasks, scores for labels, queries for
segments."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor, nn

from ..mask_classification.segmentor import MaskClassificationSegmentor
from ..per_pixel.segmentor import PerPixelSegmentor


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
    """Let this project's models below ``model`` give scores, whatever their config asks for."""
    changed = []
    for module in model.modules():
        if isinstance(module, MaskClassificationSegmentor):
            changed.append((module, module.inference_settings))
            settings = replace(module.inference_settings, semantic_output="scores")
        elif isinstance(module, PerPixelSegmentor):
            changed.append((module, module.inference_settings))
            settings = replace(module.inference_settings, output="scores")
        else:
            continue
        module.inference_settings = settings
    try:
        yield
    finally:
        for module, settings in changed:
            module.inference_settings = settings


@contextmanager
def queries_asked_for(model: nn.Module) -> Iterator[None]:
    """Let a mask-classification model give its queries in place of panoptic results."""
    if not isinstance(model, MaskClassificationSegmentor):
        yield
        return
    before = model.inference_settings
    is_panoptic = "panoptic" in before.tasks
    tasks = tuple(task for task in before.tasks if task != "panoptic")
    model.inference_settings = replace(before, tasks=tasks, keep_queries=is_panoptic)
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
