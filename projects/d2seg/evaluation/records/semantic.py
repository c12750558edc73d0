"""What the report says of semantic results: confusions, boundary IoU, calibration, pictures.

H, W of a picture, K classes; ignored pixels have the label K.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from detectron2.utils import comm

from .gallery import Scene, draw_gallery, palette

NUM_BINS = 15  # of confidence
_BOUNDARY_SHARE = 0.02  # of the diagonal (Cheng et al. 2021, section 4)


class SemanticRecord:
    """Counts that the evaluator's metrics do not keep; picture by picture, in any process."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.reset()

    def reset(self) -> None:
        num = self.num_classes
        self.boundary = np.zeros((num, 3), np.int64)  # intersection, truth, prediction
        self.calibration = np.zeros((NUM_BINS, 3))  # pixels, sum of confidence, right ones
        self.images: dict[str, tuple[float, tuple[int, ...]]] = {}  # mean IoU, classes

    def add(
        self,
        file_name: str,
        prediction: np.ndarray,
        labels: np.ndarray,
        confusion: np.ndarray,
        confidence: np.ndarray | None = None,
    ) -> None:
        """
        Args:
            prediction, labels: (H, W) integers.
            confusion: (K + 1, K + 1) counts of this picture, rows are predictions.
            confidence: (H, W) in [0, 1] that the model has in its prediction.
        """
        valid = confusion[:-1, :-1]
        correct, union = valid.diagonal(), valid.sum(0) + valid.sum(1) - valid.diagonal()
        present = np.flatnonzero(union)
        score = float((correct[present] / union[present]).mean()) if len(present) else np.nan
        self.images[file_name] = (score, tuple(present.tolist()))
        self.boundary += boundary_counts(prediction, labels, self.num_classes)
        if confidence is not None:
            counted = labels < self.num_classes
            self.calibration += calibration_counts(
                confidence[counted], (prediction == labels)[counted]
            )

    def gather(self) -> None:
        """Join the records of all processes in the main one; each must call it."""
        gathered = comm.gather((self.boundary, self.calibration, self.images))
        if comm.is_main_process():
            boundaries, calibrations, images = zip(*gathered, strict=True)
            self.boundary = np.sum(boundaries, axis=0)
            self.calibration = np.sum(calibrations, axis=0)
            self.images = {name: value for part in images for name, value in part.items()}

    def content(
        self,
        confusion: np.ndarray,
        class_names: Sequence[str],
        colors: Sequence[Sequence[int]] | None,
        scene_of: Callable[[str], Scene],
    ) -> dict[str, Any]:
        """The record of the whole data set.

        Args:
            confusion: (K + 1, K + 1) counts of it, rows are predictions.
            colors: of the classes, as the data set has them.
            scene_of: what to draw of a file name.
        """
        return {
            "classes": list(class_names),
            "colors": palette(self.num_classes, colors),
            "confusion": confusion[:-1, :-1].T,  # rows are truth here
            "boundary": self.boundary,
            "calibration": self.calibration if self.calibration.any() else None,
            "gallery": draw_gallery(
                {name: score for name, (score, _) in self.images.items()},
                scene_of,
                lambda name: self.images[name][1],
                os.path.basename,
                "mean IoU",
            ),
        }


def semantic_scene(
    picture: np.ndarray | None,
    truth: np.ndarray,
    prediction: np.ndarray,
    class_names: Sequence[str],
    colors: Sequence[Sequence[int]] | None,
) -> Scene:
    """What a report draws of a picture. A class named "background" is drawn as nothing, and is no
    false positive or negative of itself; of two other classes a wrong pixel is both.

    Args:
        truth, prediction: (H, W) classes, -1 where the truth is ignored.
    """
    clear = [i for i, name in enumerate(class_names) if name.lower() == "background"]
    wrong = (truth != prediction) & (truth >= 0)
    shown = [np.where(np.isin(labels, clear), -1, labels) for labels in (truth, prediction)]
    return Scene(
        picture,
        *shown,
        palette(len(class_names), colors),
        wrong & (shown[1] >= 0),
        wrong & (shown[0] >= 0),
    )


def boundary_counts(prediction: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Pixels of boundary IoU (Cheng et al. 2021, equation 2) per class, (K, 3): in both bands, in
    that of the truth, in that of the prediction.

    A band is what lies in a mask and at most 2 % of the diagonal from its contour; the picture's
    edge is a contour. Ignored pixels are in no mask of either map.
    """
    height, width = labels.shape
    distance = max(1, round(_BOUNDARY_SHARE * float(np.hypot(height, width))))
    ignored = labels == num_classes
    truth = np.where(_band(labels, distance) & ~ignored, labels, num_classes)
    visible = np.where(ignored, num_classes, prediction)
    found = np.where(_band(visible, distance) & ~ignored, prediction, num_classes)
    columns = (truth[truth == found], truth, found)
    counts = [np.bincount(column.ravel(), minlength=num_classes + 1) for column in columns]
    return np.stack(counts, axis=1)[:num_classes]


def _band(labels: np.ndarray, distance: int) -> np.ndarray:
    """(H, W) bool: whether another label, or the outside, is at most ``distance`` rows and columns
    away."""
    # 1 at least: the outside is 0
    padded = np.pad(labels.astype(np.uint16) + 1, 1)
    edges = (cv2.dilate(padded, _NEIGHBOURS) != cv2.erode(padded, _NEIGHBOURS))[1:-1, 1:-1]
    if distance == 1:
        return edges
    # a sum over a box takes the same time for any size, as a dilation does not
    box = (2 * distance - 1,) * 2
    return (
        cv2.boxFilter(
            edges.astype(np.uint8), cv2.CV_32S, box, normalize=False, borderType=cv2.BORDER_CONSTANT
        )
        > 0
    )


_NEIGHBOURS = np.ones((3, 3), np.uint8)


def calibration_counts(confidence: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """(NUM_BINS, 3): pixels, sum of confidence and right pixels by confidence."""
    bins = np.minimum((confidence * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    weights = (None, confidence, is_right)
    return np.stack(
        [np.bincount(bins, w, minlength=NUM_BINS).astype(float) for w in weights], axis=1
    )
