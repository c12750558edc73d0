"""A trained model on pictures.

H, W a picture's size in pixels, K classes, E expressions.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import Metadata
from detectron2.modeling import build_model
from torch import nn

from ..acceleration import prepare_as_configured
from ..checkpoint import Checkpointer
from ..config.checks import check_device
from ..config.defaults import set_semantic_output
from ..config.loading import use_words_of_checkpoint
from ..config.tasks import check_expressions, tasks_of
from ..data.augmentation import build_augmentations, reading_config
from ..data.class_metadata import class_metadata
from ..views import check_views, with_views
from .inputs import Picture, collect_pictures
from .results import Prediction
from .selection import select_confident


class Predictor:
    """One task of a model, on pictures."""

    def __init__(
        self,
        *,
        model: nn.Module,
        task: str,
        resize: T.Augmentation,
        image_format: str,
        confidence_threshold: float | None = None,
        metadata: Metadata | None = None,
    ) -> None:
        """
        Args:
            model: in eval mode, with detectron2's interface.
            task: one of ``TASKS``.
            resize: from the picture to the model's input.
            image_format: the order of channels that the model takes, "RGB" or "BGR".
            confidence_threshold: see :meth:`__call__`; None: whatever the model gives.
            metadata: names, colours and ids of the classes.
        """
        self.model = model
        self.task = task
        self.resize = resize
        self.image_format = image_format
        self.confidence_threshold = confidence_threshold
        self.metadata = metadata or Metadata()

    def __call__(
        self,
        pictures: str | Path | np.ndarray | Any,
        *,
        channel_order: str = "BGR",
        expressions: Sequence[str] = (),
        batch_size: int = 1,
    ) -> Prediction | list[Prediction]:
        """
        Args:
            pictures: a path; a PIL image; an array (H, W, 3) uint8; or a folder of pictures, or a
                list of any of these.
            channel_order: of arrays: "BGR" as ``cv2.imread`` and detectron2's ``DefaultPredictor``
                have it, or "RGB". Files and PIL images know their own.
            expressions: E of them, for the task referring and no other: what to look for.
            batch_size: how many pictures whose inputs have one size the model takes at a time.

        Returns:
            For one picture detectron2's dict with the entry of the task, for a folder or list a
            list of such dicts. With ``t`` the confidence threshold:
            panoptic: "panoptic_seg": ((H, W) ids, segments_info), the latter without the segments
            that have a score below t;
            semantic: "sem_seg": (K, H, W) scores, or (H, W) labels of a model that gives these, on
            the model's device; ``Prediction.labels`` gives (H, W) classes, -1 where the best one is
            less probable than t;
            instance: "instances": Instances, without those that score below t;
            referring: "referring": Instances of the expressions in their order, with
            ``pred_masks`` (E, H, W) bool, ``scores`` (E,) in [0, 1] and ``expressions``. A mask is
            empty where the model finds nothing, or scores it below t.
            All but "sem_seg" is on the CPU.

        Raises:
            ValueError: something is no picture (before the model is run), or ``expressions`` do not
                fit the task.
            UnreadableError: a file cannot be decoded.
        """
        check_expressions(self.task, expressions)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it is 1 or more")
        collected, is_single = collect_pictures(pictures, channel_order)
        results = list(self._predict(collected, list(expressions), batch_size))
        return results[0] if is_single else results

    def check_expressions(self, expressions: Sequence[str]) -> None:
        """See, before pictures are read, that the model can take the expressions.

        Beyond the function of this name, a model is asked whose words are limited: it has a method
        ``check_expressions`` that takes the list and raises.

        Raises:
            ValueError: the model cannot.
        """
        check_expressions(self.task, expressions)
        if expressions and hasattr(self.model, "check_expressions"):
            self.model.check_expressions(list(expressions))

    def _predict(
        self, pictures: list[Picture], expressions: list[str], batch_size: int
    ) -> Iterator[Prediction]:
        for start in range(0, len(pictures), batch_size):
            examples = [
                (picture, self._example(picture, expressions))
                for picture in pictures[start : start + batch_size]
            ]
            # of one size, so that none is padded for the sake of another
            for _, group in groupby(examples, key=lambda pair: pair[1]["image"].shape):
                yield from self._run(list(group))

    def _example(self, picture: Picture, expressions: list[str]) -> dict[str, Any]:
        """The model's input."""
        image = picture.rgb()
        height, width = image.shape[:2]
        pixels = image if self.image_format == "RGB" else image[:, :, ::-1]
        pixels = self.resize.get_transform(pixels).apply_image(pixels)
        tensor = torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        example = {"image": tensor, "height": height, "width": width}
        return example | ({"expressions": expressions} if expressions else {})

    @torch.inference_mode()
    def _run(self, group: list[tuple[Picture, dict[str, Any]]]) -> list[Prediction]:
        outputs = self.model([example for _, example in group])
        return [
            Prediction(
                select_confident(output, self.task, self.confidence_threshold),
                picture=picture,
                task=self.task,
                metadata=self.metadata,
                confidence_threshold=self.confidence_threshold,
            )
            for (picture, _), output in zip(group, outputs, strict=True)
        ]


def build_predictor(
    cfg: CfgNode,
    task: str,
    confidence_threshold: float | None = None,
    content: dict[str, Any] | None = None,
) -> Predictor:
    """The config's model with MODEL.WEIGHTS, on MODEL.DEVICE.

    Args:
        task: one of ``tasks_of(cfg)``, the only one that a model of this project then computes.
        confidence_threshold: in [0, 1]; reaches the model too (see ``set_confidence_threshold``).
        content: of the file MODEL.WEIGHTS, where ``read_checkpoint`` has read it before.

    Raises:
        ValueError: no such device here; weights missing, or of another architecture; TEST.TILES or
            TEST.AUG are not for this model.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.TEST.TASKS = [task]
    if confidence_threshold is not None:
        set_confidence_threshold(cfg, confidence_threshold)
    resize = _resize(cfg, task)
    check_device(cfg.MODEL.DEVICE)
    check_views(cfg, (task,))
    use_words_of_checkpoint(cfg)
    model = build_model(cfg)
    Checkpointer(model).load(
        cfg.MODEL.WEIGHTS, checkpointables=[], require_complete=True, content=content
    )
    return Predictor(
        model=with_views(cfg, prepare_as_configured(cfg, model.eval()), tasks_of),
        task=task,
        resize=resize,
        image_format=cfg.INPUT.FORMAT,
        confidence_threshold=confidence_threshold,
        metadata=class_metadata(cfg),
    )


def _resize(cfg: CfgNode, task: str) -> T.Augmentation:
    """What the mapper of the task does to a picture at test time."""
    if task == "referring":
        return T.Resize(tuple(cfg.INPUT.REFERRING_SIZE))
    (resize,) = build_augmentations(reading_config(cfg), is_train=False)
    return resize


def set_confidence_threshold(cfg: CfgNode, threshold: float) -> None:
    """Tell the model in place, so that doubtful queries and boxes do not take pixels from others.

    The keys are read by detectron2's ROI heads and RetinaNet, its combination of instances and
    stuff, and this project's mask-classification and per-pixel models.
    """
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = threshold
    cfg.MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH = threshold
    cfg.MODEL.MASK_CLASSIFICATION.TEST.OBJECT_MASK_THRESHOLD = threshold
    cfg.MODEL.MASK_CLASSIFICATION.TEST.SCORE_THRESHOLD = threshold
    set_semantic_output(cfg, "scores")  # labels tell no probability
