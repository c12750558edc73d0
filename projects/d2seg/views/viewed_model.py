"""Test-time augmentation: a picture at several sizes and mirrored, and the mean of what is found.

K classes, V views, (H, W) the result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from ..data.augmentation import ResizeShortestEdge, ResizeTransform
from ..layers.resampling import argmax
from ..mask_classification.postprocessing import panoptic_inference
from ..mask_classification.segmentor import MaskClassificationSegmentor
from .asking import gives_logits, probabilities, queries_asked_for, scores_asked_for
from .detections import merge_detections
from .queries import average_queries
from .settings import ViewSettings

Example = dict[str, Any]


@dataclass
class View:
    """``result``: of the model, still mirrored where ``is_mirrored``."""

    result: dict[str, Any]
    is_mirrored: bool


class ViewedModel(nn.Module):
    """Takes and gives what its model does, for pictures that nothing has resized yet.

    Semantic: the mean of the views' probabilities (of their scores, for mask classification).
    Instances: see ``detections.py``. Panoptic: for mask classification see ``queries.py``; for
    detectron2's Panoptic FPN the merged instances and labels are combined as it does it.
    A single view gives the model's own result.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: ViewSettings,
        *,
        tasks: tuple[str, ...],
        semantic_output: str = "scores",
    ) -> None:
        """
        Args:
            model: with detectron2's interface, in eval mode.
            tasks: of "semantic", "instance", "panoptic": what is asked for.
            semantic_output: "scores" (K, H, W) or "labels" (H, W) int32.
        """
        super().__init__()
        self.model = model
        self.settings = settings
        self.tasks = tasks
        self.semantic_output = semantic_output
        self.are_logits = gives_logits(model)

    def largest_factor(self, size: tuple[int, int]) -> float:
        """By how much the largest view of a picture (H, W) is larger than the picture."""
        views = [
            view_size(size, min_size, self.settings.max_size)
            for min_size in self.settings.min_sizes
        ]
        return max(side / own for view in views for side, own in zip(view, size, strict=True))

    @torch.no_grad()
    def forward(self, batched_inputs: list[Example]) -> list[dict[str, Any]]:
        """As the model's at inference; semantic scores are probabilities, or sums of such.

        Args:
            batched_inputs: with ``image`` (C, h, w) uint8 or float; ``picture_size`` (H, W) where
                that is a part of a picture, by whose size views are resized.
        """
        return [self._result(example) for example in batched_inputs]

    def _result(self, example: Example) -> dict[str, Any]:
        if len(self.settings.min_sizes) == 1 and not self.settings.flip:
            (view,) = views_of(example, self.settings)
            return self._as_asked(self.model([view])[0])
        views = []
        with scores_asked_for(self.model), queries_asked_for(self.model, "panoptic"):
            for number, view in enumerate(views_of(example, self.settings)):
                is_mirrored = self.settings.flip and number % 2 == 1
                views.append(View(self.model([view])[0], is_mirrored))
        return self._merged(views)

    def _merged(self, views: list[View]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        scores = instances = None
        if "sem_seg" in views[0].result:
            scores = self._mean_scores(views)
            if "semantic" in self.tasks:
                found["sem_seg"] = scores
        if "instances" in views[0].result:
            instances = merge_detections(
                [_straight(view) for view in views],
                tight_boxes=isinstance(self.model, MaskClassificationSegmentor),
            )
            if "instance" in self.tasks:
                found["instances"] = instances
        if "panoptic" in self.tasks and {"queries", "panoptic_seg"} & views[0].result.keys():
            found["panoptic_seg"] = self._panoptic(views, scores, instances)
        return self._as_asked(found)

    def _as_asked(self, found: dict[str, Any]) -> dict[str, Any]:
        """Labels in place of scores where these are asked for."""
        scores = found.get("sem_seg")
        if scores is not None and scores.dim() == 3 and self.semantic_output == "labels":
            found["sem_seg"] = argmax(scores.clone()).int()
        return found

    def _mean_scores(self, views: list[View]) -> Tensor:
        """(K, H, W). A view and its mirror image are added first, which makes the sum of a mirrored
        picture the mirrored sum."""
        per_size = 2 if self.settings.flip else 1
        total = None
        for start in range(0, len(views), per_size):
            pair = None
            for view in views[start : start + per_size]:
                scores = probabilities(view.result.pop("sem_seg"), self.are_logits)
                scores = scores.flip(-1) if view.is_mirrored else scores
                pair = scores if pair is None else pair + scores
            total = pair if total is None else total + pair
        return total / len(views)

    def _panoptic(
        self, views: list[View], scores: Tensor | None, instances: Instances | None
    ) -> tuple[Tensor, list[dict[str, Any]]]:
        model = self.model
        if isinstance(model, MaskClassificationSegmentor):
            queries = [(view.result["queries"], view.is_mirrored) for view in views]
            settings = model.inference_settings
            return panoptic_inference(
                *average_queries(queries),
                thing_ids=settings.thing_ids,
                object_mask_threshold=settings.object_mask_threshold,
                overlap_threshold=settings.overlap_threshold,
                intersect=settings.intersect_panoptic,
            )
        return combine_semantic_and_instance_outputs(
            instances,
            scores.argmax(0),
            model.combine_overlap_thresh,
            model.combine_stuff_area_thresh,
            model.combine_instances_score_thresh,
        )


def views_of(example: Example, settings: ViewSettings) -> Iterator[Example]:
    """For each size the picture, resized as the mappers do it, and its mirror image if asked for;
    results are of the picture's own size, or of ``height`` and ``width``."""
    image = example["image"]
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
    height, width = pixels.shape[:2]
    size = {"height": example.get("height", height), "width": example.get("width", width)}
    picture = example.get("picture_size", (height, width))
    for min_size in settings.min_sizes:
        sides = view_size(picture, min_size, settings.max_size)
        if picture != (height, width):  # a part, which is to be as much larger as the whole
            shares = zip((height, width), sides, picture, strict=True)
            sides = tuple(max(1, round(part * new / old)) for part, new, old in shares)
        resized = ResizeTransform(height, width, *sides).apply_image(pixels)
        view = torch.from_numpy(resized.transpose(2, 0, 1).copy())
        yield example | {"image": view} | size
        if settings.flip:
            yield example | {"image": view.flip(-1)} | size


def view_size(size: tuple[int, int], min_size: int, max_size: int) -> tuple[int, int]:
    """(height, width) of a view of a picture, by the rule of the mappers' ``ResizeShortestEdge``;
    the picture's own for a ``min_size`` of 0."""
    if not min_size:
        return size
    sides = ResizeShortestEdge.get_output_shape(*size, min_size, max_size)
    return max(sides[0], 1), max(sides[1], 1)


def _straight(view: View) -> Instances:
    """The view's detections in the picture's frame, on the CPU."""
    found: Instances = view.result["instances"].to("cpu")
    if not view.is_mirrored:
        return found
    straight = Instances(found.image_size)
    left, top, right, bottom = found.pred_boxes.tensor.unbind(1)
    width = found.image_size[1]
    straight.pred_boxes = Boxes(torch.stack([width - right, top, width - left, bottom], 1))
    for name in ("scores", "pred_classes"):
        straight.set(name, found.get(name))
    if found.has("pred_masks"):
        straight.pred_masks = torch.as_tensor(np.asarray(found.pred_masks)).flip(-1)
    return straight
