"""One model in memory for all of its tasks, and its answers as plain values for other programs.

H, W a picture's size in pixels.
"""

from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import Metadata
from torch import nn

from ..config.defaults import set_semantic_output
from ..config.tasks import TASKS, tasks_of
from ..data.readers import build_reader
from ..names import printable
from ..views import check_views, scores_asked_for, task_asked_for
from ..visualization.segments import (
    Color,
    absent_expressions,
    class_color,
    class_name,
    palette_color,
    panoptic_segments,
)
from .building import build_network, predictor_around
from .found import Found, find
from .loading import Opened
from .predictor import Predictor
from .results import DRAWN_INSTANCE_SCORE, Prediction

MAX_SCORES = 1 << 28  # of a score map (K, H, W): 1 GiB


class AllTasks:
    """A model that is asked for one of its tasks at a time. It is not for several threads."""

    def __init__(self, opened: Opened) -> None:
        """
        Args:
            opened: of ``open_weights``; or a config with MODEL.WEIGHTS.

        Raises:
            ValueError, ModuleNotFoundError: as ``build_predictor``; or the model does not take
                pictures of colours or grey.
        """
        cfg = opened.cfg.clone()
        cfg.defrost()
        if not build_reader(cfg).takes_rgb:
            raise ValueError(
                f"INPUT.READER is {cfg.INPUT.READER}; the model takes {_count_bands(cfg)} of a "
                "file that no browser sends: use d2seg draw or d2seg predict"
            )
        set_semantic_output(cfg, "labels")
        self.tasks = tuple(sorted(tasks_of(cfg), key=TASKS.index))
        cfg.TEST.TASKS = list(self.tasks)
        for task in self.tasks:
            check_views(_for_task(cfg, task), (task,))
        self._network = build_network(cfg, self.tasks[0], opened.content, opened.session)
        self._cfg = cfg
        self._predictors = {
            task: predictor_around(_for_task(cfg, task), self._network, task) for task in self.tasks
        }
        if "semantic" in self.tasks:
            self._scores_predictor = _predictor_of_scores(cfg, self._network)
        self.metadata = self._predictors[self.tasks[0]].metadata
        self.num_classes = int(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)

    def describe(self) -> dict[str, Any]:
        """Plain values: "method", "weights" (the name without its folders), "device", "tasks" and
        "classes", the names of those that have one."""
        device = next((p.device.type for p in self._network.parameters()), "cpu")
        kinds = ("thing", "stuff")
        return {
            "method": self._cfg.MODEL.META_ARCHITECTURE,
            "weights": printable(self._cfg.MODEL.WEIGHTS.rpartition("/")[2]),
            "device": "cpu" if device == "meta" else device,  # an exported file has the weights
            "tasks": list(self.tasks),
            "classes": list(
                dict.fromkeys(
                    class_name(self.metadata, kind, number)
                    for kind in kinds
                    for number in range(len(self.metadata.get(f"{kind}_classes") or ()))
                )
            ),
        }

    def check(self, task: str, confidence: float | None, expressions: list[str]) -> None:
        """See, before a picture is read, that the model can be asked so.

        Raises:
            ValueError: it does not do the task, or cannot take the expressions or the confidence.
        """
        if task not in self.tasks:
            raise ValueError(f"task is {task!r}; this model offers {', '.join(self.tasks)}")
        if confidence is not None and not 0 <= confidence <= 1:
            raise ValueError(f"confidence is {confidence}; it lies between 0 and 1")
        self._predictors[task].check_expressions(expressions)

    def predict(
        self,
        image: np.ndarray,
        task: str,
        confidence: float | None = None,
        expressions: tuple[str, ...] = (),
    ) -> Prediction:
        """
        Args:
            image: (H, W, 3) uint8 RGB.
            task, expressions: see :meth:`check`.
            confidence: in [0, 1], see ``Predictor.__call__``; None: of instances 0.5, of all else
                what the model gives. The model's own thresholds stay those of its config.

        Raises:
            ValueError: as :meth:`check`; the confidence of a semantic result needs more than
                ``MAX_SCORES`` scores.
        """
        self.check(task, confidence, list(expressions))
        if confidence is None and task == "instance":
            confidence = DRAWN_INSTANCE_SCORE
        with ExitStack() as stack:
            stack.enter_context(task_asked_for(self._network, task))
            predictor = self._predictors[task]
            if task == "semantic" and confidence is not None:
                self._check_scores(*image.shape[:2])
                stack.enter_context(scores_asked_for(self._network))
                predictor = self._scores_predictor
            asked = Predictor(
                model=predictor.model,
                task=task,
                resize=predictor.resize,
                image_format=predictor.image_format,
                confidence_threshold=confidence,
                metadata=self.metadata,
                reader=predictor.reader,
            )
            return asked(image, channel_order="RGB", expressions=list(expressions))

    def answer(
        self,
        image: np.ndarray,
        task: str,
        confidence: float | None = None,
        expressions: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """:func:`answer_of` what :meth:`predict` gives."""
        return answer_of(self.predict(image, task, confidence, expressions))

    def _check_scores(self, height: int, width: int) -> None:
        if self.num_classes * height * width > MAX_SCORES:
            raise ValueError(
                f"confidence needs the scores of {self.num_classes} classes at {width}x{height} "
                f"pixels, which take {self.num_classes * height * width >> 28} GiB; leave it out, "
                f"or send a picture of at most {MAX_SCORES // self.num_classes} pixels"
            )


def _count_bands(cfg: CfgNode) -> str:
    number = len(cfg.MODEL.PIXEL_MEAN)
    return f"{number} band{'s' * (number != 1)}"


def _for_task(cfg: CfgNode, task: str) -> CfgNode:
    cfg = cfg.clone()
    cfg.TEST.TASKS = [task]
    return cfg


def _predictor_of_scores(cfg: CfgNode, network: nn.Module) -> Predictor:
    cfg = _for_task(cfg, "semantic")
    set_semantic_output(cfg, "scores")
    return predictor_around(cfg, network, "semantic")


def answer_of(prediction: Prediction) -> dict[str, Any]:
    """What is found, as JSON can hold it.

    Returns:
        "segments": of each "name", "color" (three integers in 0..255), "area" (pixels; of a box
        where there is no mask), "score" (None where the model gives none) and what
        ``Prediction.to_coco`` has beside "image_id"; instances by their score, expressions in their
        order, all else by its area. "not_found": the expressions that mean nothing in the picture.
    """
    drawable, metadata = prediction.drawable(), prediction.metadata
    segments = [_segment(one, metadata) for one in find(drawable, metadata)]
    missing: list[str] = []
    if prediction.task == "instance":
        segments.sort(key=lambda segment: -segment["score"])
        for rank, segment in enumerate(segments):
            segment["color"] = _bytes(palette_color(rank))
    elif prediction.task == "referring":
        missing = absent_expressions(drawable)
    elif prediction.task == "panoptic":
        drawn = panoptic_segments(*drawable["panoptic_seg"], metadata)
        for segment, own in zip(segments, drawn, strict=True):
            segment["color"] = _bytes(own.color)
    if prediction.task in ("panoptic", "semantic"):
        segments.sort(key=lambda segment: -segment["area"])
    return {"segments": segments, "not_found": missing}


def _segment(one: Found, metadata: Metadata) -> dict[str, Any]:
    _, _, width, height = (record := one.coco_record())["bbox"]
    is_expression = one.dataset_id is None
    color = palette_color if is_expression else partial(class_color, metadata, "stuff")
    return {
        "name": one.name,
        "color": _bytes(color(one.category)),
        "area": round(width * height) if one.mask is None else int(np.count_nonzero(one.mask)),
        **record,
        "score": one.score,
    }


def _bytes(color: Color) -> list[int]:
    return [round(255 * channel) for channel in color]
