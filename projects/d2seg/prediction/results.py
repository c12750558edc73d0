"""A model's answer for one picture: detectron2's dict, drawn or in other programs' formats."""

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import Metadata
from PIL import Image
from torch import Tensor

from ..visualization.media import write_picture
from ..visualization.predictions import draw_prediction
from .found import find
from .inputs import Picture
from .selection import label_map, select_confident

DRAWN_INSTANCE_SCORE = 0.5  # detectors also give many boxes that are hardly ever right


class Prediction(dict):
    """detectron2's dict, see ``Predictor.__call__``, with methods that draw and convert it.

    H, W the picture's size in pixels.
    """

    def __init__(
        self,
        output: dict[str, Any],
        *,
        picture: Picture,
        task: str,
        metadata: Metadata,
        confidence_threshold: float | None = None,
    ) -> None:
        """
        Args:
            output: of ``select_confident``.
            picture: a file is read anew when it is drawn on.
            task: one of ``TASKS``.
            metadata: names, colours and ids of the classes.
            confidence_threshold: with which ``output`` was selected.
        """
        super().__init__(output)
        self.task = task
        self.metadata = metadata
        self.confidence_threshold = confidence_threshold
        self._picture = picture

    @property
    def path(self) -> Path | None:
        """The picture's file, if it came from one."""
        return self._picture.source if isinstance(self._picture.source, Path) else None

    def labels(self) -> Tensor:
        """(H, W) int64 on the CPU: the best class of each pixel of a semantic result, -1 where it
        is less probable than the confidence threshold.

        Raises:
            ValueError: another task, or a threshold for a model that gives labels.
        """
        if self.task != "semantic":
            raise ValueError(f"labels() is for the task semantic; this is {self.task}")
        return label_map(self["sem_seg"], self.confidence_threshold)

    def drawable(self) -> dict[str, Any]:
        """What ``draw_prediction`` takes: on the CPU, a semantic result as its labels."""
        return {"sem_seg": self.labels()} if self.task == "semantic" else dict(self)

    def draw(
        self, path: str | Path | None = None, *, scale: float = 1.0, confidence: float | None = None
    ) -> Image.Image:
        """The picture with the result painted over it.

        Args:
            path: a PNG file to write, beside returning the drawing.
            scale: of the drawing to the picture.
            confidence: instances that score less are left out; None: the predictor's threshold, or
                without one 0.5.

        Returns:
            An RGB image of ``scale`` times H, W.

        Raises:
            ValueError: ``path`` does not end in .png, or its folder is missing.
            UnreadableError: the picture's file is no longer there.
        """
        if path is not None:
            path = Path(os.path.expanduser(path))
            if path.suffix.lower() != ".png" or not path.absolute().parent.is_dir():
                raise ValueError(f"draw() writes PNG files into folders that exist, not {path}")
        shown = self.drawable()
        if self.task == "instance":
            given = self.confidence_threshold if confidence is None else confidence
            least = DRAWN_INSTANCE_SCORE if given is None else given
            shown = select_confident(shown, self.task, least)
        drawn = draw_prediction(
            self._picture.rgb(), shown, self.metadata, scale=scale, show_ids=True
        )
        if path is not None:
            write_picture(path, drawn)
        return Image.fromarray(drawn)

    def to_coco(self, image_id: int = 0) -> list[dict[str, Any]]:
        """One record of COCO's results format for each instance, segment, class or expression.

        Args:
            image_id: of the records.

        Returns:
            Dicts with "image_id", "bbox" (x, y, width, height) and "segmentation" (RLE; a detector
            of boxes gives none); "category_id" as in the data set, or the contiguous one where the
            metadata has no other, or "expression"; "score" where the model gives one; and
            "track_id" of a video's objects.
        """
        found = find(self.drawable(), self.metadata)
        return [{"image_id": image_id, **each.coco_record()} for each in found]

    def to_supervision(self) -> Any:
        """``supervision.Detections`` of the instances, segments, classes or expressions, with
        masks where the model gives them; ``data["class_name"]`` has names, ``tracker_id`` the ids
        of a video's objects (0 for stuff).

        Raises:
            ModuleNotFoundError: supervision is not installed; says how to install it.
        """
        try:
            supervision = importlib.import_module("supervision")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "to_supervision() needs supervision, which is missing: pip install supervision"
            ) from error
        found = list(find(self.drawable(), self.metadata))
        if not found:
            return supervision.Detections.empty()
        masks = [each.mask for each in found]
        scores = [each.score for each in found]
        numbers = [each.track_id or 0 for each in found]
        return supervision.Detections(
            xyxy=np.array([each.box for each in found], np.float32),
            mask=None if masks[0] is None else np.stack(masks),
            confidence=None if None in scores else np.array(scores, np.float32),
            class_id=np.array([each.category for each in found]),
            tracker_id=np.array(numbers) if any(numbers) else None,
            data={"class_name": np.array([each.name for each in found])},
        )
