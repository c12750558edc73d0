"""mIoU where classes meet: inside a band around the borders of the ground truth (the trimap of
Kohli et al. 2009; used for the same purpose by DeepLab, Chen et al. 2018).

H, W the size of a label image, K classes.
"""

from collections.abc import Mapping

import cv2
import numpy as np

from ..data.readers import PictureReader
from .semantic import SemanticEvaluator


class BoundaryEvaluator(SemanticEvaluator):
    """The semantic evaluator's metrics, and ``boundary_mIoU``: mIoU over the pixels of the band."""

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        *,
        width: int,
        record: bool = False,
        reader: PictureReader | None = None,
    ) -> None:
        """
        Args:
            dataset_name, output_dir, record, reader: see :class:`SemanticEvaluator`.
            width: of the band on either side of a border, in pixels of the ground truth.

        Raises:
            ValueError: the width is not positive.
            MissingGroundTruthError: see :class:`SemanticEvaluator`.
        """
        if width < 1:
            raise ValueError(f"TEST.BOUNDARY_WIDTH is {width}; a band is 1 pixel wide at least")
        super().__init__(dataset_name, output_dir, record=record, reader=reader)
        self._width = width

    def _count(self, file_name: str, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        confusion = super()._count(file_name, prediction, labels)
        band = boundary_band(labels, self._width, ignore_value=self._num_classes)
        # this matrix is detectron2's; it gathers it from all processes, and uses it no further here
        self._b_conf_matrix += self._confusion(prediction[band], labels[band])
        return confusion

    def evaluate(self) -> Mapping[str, dict] | None:
        results = super().evaluate()
        if results is not None:  # on the main process
            results["sem_seg"]["boundary_mIoU"] = 100 * mean_iou(self._b_conf_matrix)
        return results


def boundary_band(labels: np.ndarray, width: int, *, ignore_value: int) -> np.ndarray:
    """The pixels that have another class at most ``width`` rows and columns away.

    Args:
        labels: (H, W) integers. Ignored ones are no class: a border to them is none, and they are
            not part of the band.

    Returns:
        (H, W) bool.
    """
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    ignored = labels == ignore_value
    values = labels.astype(np.float32)
    highest = cv2.dilate(np.where(ignored, -np.inf, values).astype(np.float32), window)
    lowest = cv2.erode(np.where(ignored, np.inf, values).astype(np.float32), window)
    return (highest != lowest) & ~ignored


def mean_iou(confusion: np.ndarray) -> float:
    """Mean over the classes with ground truth; NaN without any.

    Args:
        confusion: (K + 1, K + 1) counts, rows are predictions, the last column ignored pixels.
    """
    correct = confusion.diagonal()[:-1].astype(float)
    truth = confusion[:-1, :-1].sum(0)
    union = truth + confusion[:-1, :-1].sum(1) - correct
    present = truth > 0
    return float((correct[present] / union[present]).mean()) if present.any() else float("nan")
