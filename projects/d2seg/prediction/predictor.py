"""A trained model on pictures.

H, W a picture's size in pixels, K classes, E expressions.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.data import Metadata
from torch import nn

from ..config.tasks import check_expressions
from ..data.readers import PictureReader
from ..visualization.media import UnreadableError, is_video
from ..visualization.tracking import MAX_MISSED, ObjectTracker, track_prediction
from ..visualization.video_reading import VideoReader
from .inputs import Picture, collect_pictures
from .results import DRAWN_INSTANCE_SCORE, Prediction
from .selection import select_confident

logger = logging.getLogger(__name__)

TRACKED_TASKS = ("panoptic", "instance")


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
        reader: PictureReader | None = None,
    ) -> None:
        """
        Args:
            model: in eval mode, with detectron2's interface.
            task: one of ``TASKS``.
            resize: from the picture to the model's input.
            image_format: the order of channels that the model takes, "RGB" or "BGR".
            confidence_threshold: see :meth:`__call__`; None: whatever the model gives.
            metadata: names, colours and ids of the classes.
            reader: of pictures for a model that takes other than three channels.
        """
        self.model = model
        self.task = task
        self.resize = resize
        self.image_format = image_format
        self.confidence_threshold = confidence_threshold
        self.metadata = metadata or Metadata()
        self.reader = reader

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
                list of any of these. Of a model that takes other than three channels, an array has
                these, uint8 or float on the scale of 0..255, in the model's order.
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
        collected, is_single = collect_pictures(pictures, channel_order, self.reader)
        results = list(self._predict(collected, list(expressions), batch_size))
        return results[0] if is_single else results

    def stream(
        self,
        pictures: str | Path | np.ndarray | Iterable | Any,
        *,
        channel_order: str = "BGR",
        expressions: Sequence[str] = (),
        batch_size: int = 1,
        on_unreadable: Callable[[UnreadableError], object] | None = None,
    ) -> Iterator[Prediction]:
        """Results one after the other, for folders whose results do not fit into memory at once.

        Args:
            pictures: as of :meth:`__call__`; or an iterator of such, which is asked for the next
                one when its turn comes.
            channel_order, expressions, batch_size: as of :meth:`__call__`; ``batch_size`` results
                are held at a time.
            on_unreadable: called with the error of each file that cannot be decoded, which names
                it; None: it is logged as a warning. The others are predicted all the same.

        Returns:
            An iterator of what :meth:`__call__` gives for a picture, in their order;
            ``Prediction.path`` is the file.

        Raises:
            ValueError: as :meth:`__call__`, before the first result unless ``pictures`` is an
                iterator.
        """
        check_expressions(self.task, expressions)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it is 1 or more")
        if isinstance(pictures, Iterator):
            nested = (collect_pictures(item, channel_order, self.reader)[0] for item in pictures)
            collected = (picture for found in nested for picture in found)
        else:
            collected, _ = collect_pictures(pictures, channel_order, self.reader)
        report = on_unreadable or _warn
        return self._predict(collected, list(expressions), batch_size, report)

    def track(
        self,
        frames: str | Path | Iterable | Any,
        *,
        channel_order: str = "BGR",
        max_missed: int = MAX_MISSED,
    ) -> Iterator[Prediction]:
        """Results of a video's frames, in which an object has one id for as long as it is known.

        Args:
            frames: the file of a video, or what :meth:`stream` takes, in the order of time.
            channel_order: of arrays.
            max_missed: frames for which an object that is out of sight keeps its id.

        Returns:
            An iterator of what :meth:`__call__` gives for a picture, with the ids of
            ``track_prediction``: ``track_ids`` of instances, of which those that score below the
            confidence threshold, or without one 0.5, are left out; the ids of a panoptic result.
            Drawings and other formats have them.

        Raises:
            ValueError: the task has no objects; or as :meth:`stream`. While iterating: a frame is
                of another size than the one before.
            UnreadableError: the video cannot be opened.
            ImportError: PyAV, which reads videos, is missing.
        """
        if self.task not in TRACKED_TASKS:
            tasks = " and ".join(TRACKED_TASKS)
            raise ValueError(f"track() is for the tasks {tasks}; this is {self.task}")
        tracker = ObjectTracker(max_missed)
        if isinstance(frames, (str, Path)) and is_video(Path(frames)):
            video = VideoReader(Path(frames).expanduser())
            return self._track(self.stream(iter(video), channel_order="RGB"), tracker)
        return self._track(self.stream(frames, channel_order=channel_order), tracker)

    def _track(
        self, predictions: Iterator[Prediction], tracker: ObjectTracker
    ) -> Iterator[Prediction]:
        threshold = self.confidence_threshold
        for prediction in predictions:
            found: dict[str, Any] = prediction
            if self.task == "instance" and threshold is None:
                found = select_confident(found, self.task, DRAWN_INSTANCE_SCORE)
            prediction.update(track_prediction(found, tracker))
            yield prediction

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
        self,
        pictures: Iterable[Picture],
        expressions: list[str],
        batch_size: int,
        on_unreadable: Callable[[UnreadableError], object] | None = None,
    ) -> Iterator[Prediction]:
        readable = self._read(pictures, expressions, on_unreadable)
        while examples := list(islice(readable, batch_size)):
            # of one size, so that none is padded for the sake of another
            for _, group in groupby(examples, key=lambda pair: pair[1]["image"].shape):
                yield from self._run(list(group))

    def _read(
        self,
        pictures: Iterable[Picture],
        expressions: list[str],
        on_unreadable: Callable[[UnreadableError], object] | None,
    ) -> Iterator[tuple[Picture, dict[str, Any]]]:
        for picture in pictures:
            try:
                example = self.make_example(picture, expressions)
            except UnreadableError as error:
                if on_unreadable is None:
                    raise
                on_unreadable(error)
                continue
            yield picture, example

    def make_example(self, picture: Picture, expressions: list[str]) -> dict[str, Any]:
        """The model's input: detectron2's dict with "image" (C, h, w), the picture's "height"
        and "width", and "expressions" if there are any.

        Raises:
            UnreadableError: the picture's file cannot be decoded.
        """
        pixels = picture.pixels(self.image_format)
        height, width = pixels.shape[:2]
        pixels = self.resize.get_transform(pixels).apply_image(pixels)
        tensor = torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        example = {"image": tensor, "height": height, "width": width}
        return example | ({"expressions": expressions} if expressions else {})

    @torch.inference_mode()
    def run_model(self, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The entry of the task for each of :meth:`make_example`, see :meth:`__call__`."""
        outputs = self.model(examples)
        return [
            select_confident(output, self.task, self.confidence_threshold) for output in outputs
        ]

    def _run(self, group: list[tuple[Picture, dict[str, Any]]]) -> list[Prediction]:
        outputs = self.run_model([example for _, example in group])
        return [
            Prediction(
                output,
                picture=picture,
                task=self.task,
                metadata=self.metadata,
                confidence_threshold=self.confidence_threshold,
            )
            for (picture, _), output in zip(group, outputs, strict=True)
        ]


def _warn(error: UnreadableError) -> None:
    logger.warning("%s; it is left out", error)
