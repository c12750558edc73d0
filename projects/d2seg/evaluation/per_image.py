"""Dice, IoU, precision and recall of masks, per class: over the images, and over the data set.

Work on polyps, skin lesions and cells reports means over images of the foreground (Kvasir-SEG: Jha
et al. 2020; DS-TransUNet: Lin et al. 2022); mIoU as of ``SemanticEvaluator`` pools the pixels of
all images and takes the background for a class.

N images, K classes; counts are true positive, false positive and false negative pixels.
"""

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.utils import comm
from tabulate import tabulate

from .boundary import BoundaryEvaluator
from .semantic import SemanticEvaluator

logger = logging.getLogger(__name__)

METRICS = ("Dice", "IoU", "precision", "recall")
_MEANS = ("mDice", "mIoU", "precision", "recall")  # over the classes
_COUNTS = ("true_positives", "false_positives", "false_negatives")


class PerImageEvaluator(SemanticEvaluator):
    """The semantic evaluator's metrics, and in percent, as ``per_image`` and as ``pooled``,

    - ``Dice-<class>``, ``IoU-<class>``, ``precision-<class>``, ``recall-<class>``: in ``per_image``
      the mean over images, in ``pooled`` of the pixels of all images taken together;
    - ``mDice``, ``mIoU``, ``precision``, ``recall``: the means of these over the foreground, which
      is every class but one named "background".

    A class that is in neither truth nor prediction of an image has no part in its mean; where it is
    in only one of them, all four metrics of the image are 0. Ignored pixels do not count.

    An image counts once, however often it was seen: by its ``file_name``. Predictions and labels
    have the size of the label image.

    ``per_image.csv`` in ``output_dir`` has a row for each image and foreground class, the lowest
    Dice first.
    """

    def reset(self) -> None:
        super().reset()
        self._counts: dict[str, np.ndarray] = {}  # (K, 3) by file name

    def _count(self, file_name: str, prediction: np.ndarray, labels: np.ndarray) -> np.ndarray:
        confusion = super()._count(file_name, prediction, labels)
        self._counts[file_name] = mask_counts(confusion)
        return confusion

    def evaluate(self) -> Mapping[str, dict] | None:
        gathered = comm.gather(self._counts)  # of all processes, on the main one
        results = super().evaluate()
        if results is None:
            return None
        self._counts = {file: counts for part in gathered for file, counts in part.items()}
        counts = np.zeros((len(self._counts), self._num_classes, len(_COUNTS)), np.int64)
        for row, of_image in zip(counts, self._counts.values(), strict=True):
            row[:] = of_image
        metrics = mask_metrics(counts)
        foreground = foreground_of(self._class_names)
        means = {"per_image": mean_of(metrics), "pooled": mask_metrics(counts.sum(axis=0))}
        for group, of_classes in means.items():
            results[group] = _results(100 * of_classes, self._class_names, foreground)
            self._log(group, results[group], foreground)
        if self._output_dir is not None:
            self._write(Path(self._output_dir) / "per_image.csv", counts, metrics, foreground)
        return results

    def _log(self, group: str, results: Mapping[str, float], foreground: Sequence[int]) -> None:
        rows = [["mean of the foreground", *(results[name] for name in _MEANS)]]
        for number in foreground if len(foreground) > 1 else ():
            name = self._class_names[number]
            rows.append([name, *(results[f"{metric}-{name}"] for metric in METRICS)])
        table = tabulate(rows, ["", *METRICS], "pipe", floatfmt=".2f")
        logger.info("%s, %d images, %s:\n%s", self._dataset_name, len(self._counts), group, table)

    def _write(
        self, path: Path, counts: np.ndarray, metrics: np.ndarray, foreground: Sequence[int]
    ) -> None:
        """Write the defined foreground rows of (N, K, 3) counts and (N, K, 4) metrics."""
        rows = [
            [file, self._class_names[k], *(f"{x:.6f}" for x in metrics[i, k]), *counts[i, k]]
            for i, file in enumerate(self._counts)
            for k in foreground
            if np.isfinite(metrics[i, k, 0])
        ]
        # of equal ones, those with more wrong pixels first
        rows.sort(key=lambda row: (float(row[2]), -row[-1] - row[-2], row[0]))
        # names whose bytes are no text are escaped
        with path.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file:
            csv.writer(file).writerows([["file", "class", *METRICS, *_COUNTS], *rows])


class PerImageBoundaryEvaluator(PerImageEvaluator, BoundaryEvaluator):
    """The metrics of both."""


def mask_counts(confusion: np.ndarray) -> np.ndarray:
    """(K, 3) true positives, false positives and false negatives.

    Args:
        confusion: (K + 1, K + 1) counts, rows are predictions, the last column ignored pixels.
    """
    valid = confusion[:-1, :-1]
    correct = valid.diagonal()
    return np.stack([correct, valid.sum(1) - correct, valid.sum(0) - correct], axis=1)


def mask_metrics(counts: np.ndarray) -> np.ndarray:
    """Dice, IoU, precision and recall, (..., 4) in 0..1, of counts (..., 3).

    NaN where truth and prediction are empty, 0 where one of them is.
    """
    correct, extra, missed = np.moveaxis(counts, -1, 0).astype(float)
    denominators = (
        (2 * correct + extra + missed) / 2,
        correct + extra + missed,
        correct + extra,
        correct + missed,
    )
    # where a denominator is 0, so is the numerator
    metrics = np.stack([correct / np.maximum(d, 0.5) for d in denominators], axis=-1)
    metrics[correct + extra + missed == 0] = np.nan
    return metrics


def mean_of(metrics: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is defined; NaN where nothing is."""
    defined = np.isfinite(metrics)
    sums, numbers = np.where(defined, metrics, 0).sum(axis=0), defined.sum(axis=0)
    return np.where(numbers > 0, sums / np.maximum(numbers, 1), np.nan)


def foreground_of(class_names: Sequence[str]) -> list[int]:
    """The classes that are not named "background"; all where no other is left."""
    found = [i for i, name in enumerate(class_names) if name.lower() != "background"]
    return found or list(range(len(class_names)))


def _results(
    metrics: np.ndarray, class_names: Sequence[str], foreground: Sequence[int]
) -> dict[str, float]:
    """The entries of (K, 4) metrics."""
    means = mean_of(metrics[list(foreground)])
    results = {name: float(value) for name, value in zip(_MEANS, means, strict=True)}
    for of_class, name in zip(metrics, class_names, strict=True):
        for metric, value in zip(METRICS, of_class, strict=True):
            results[f"{metric}-{name}"] = float(value)
    return results
