"""Counting of the values in label maps, for the inspection of data sets."""

import cv2
import numpy as np

from .report import Counts, Report

_EXACT = 1 << 24  # up to here OpenCV's counts, float32, are exact


def value_counts(labels: np.ndarray) -> dict[int, int]:
    """{value: number of pixels} of integers of any shape."""
    if labels.dtype == np.uint8:  # a table of 256 needs no sorting
        if 0 < labels.size < _EXACT and labels.ndim == 2:  # half of bincount's time
            pixels = cv2.calcHist([labels], [0], None, [256], [0, 256])[:, 0].astype(np.int64)
        else:
            pixels = np.bincount(labels.ravel())
        values = np.flatnonzero(pixels)
        return dict(zip(values.tolist(), pixels[values].tolist(), strict=True))
    values, pixels = np.unique(labels, return_counts=True)
    return dict(zip(values.tolist(), pixels.tolist(), strict=True))


def count_labels(
    labels: np.ndarray,
    num_classes: int,
    ignore_label: int,
    file: str,
    report: Report,
    where: str = "",
) -> Counts:
    """Count the classes of a label map in ``report``, and note values that are out of range.

    Args:
        where: in the file, for the notes.

    Returns:
        The report's counts of semantic labels.
    """
    found = value_counts(labels)
    report.values.update(found)
    counts = report.counts.setdefault("semantic", Counts())
    counts.pixels.update({v: n for v, n in found.items() if 0 <= v < num_classes})
    counts.images.update(counts.pixels.keys())
    for value, count in found.items():
        if not 0 <= value < num_classes and value != ignore_label:
            detail = f"{where}value {value} in {count} pixels"
            report.problem("label out of range", file, detail, ("value", value))
    return counts
