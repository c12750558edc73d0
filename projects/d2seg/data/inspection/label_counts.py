"""Counting of the values in label maps, for the inspection of data sets."""

import numpy as np

from ..checks import out_of_range
from .report import Counts, Report


def value_counts(labels: np.ndarray) -> dict[int, int]:
    """{value: number of pixels} of integers of any shape."""
    if labels.dtype == np.uint8:  # a table of 256 needs no sorting
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
    for value, count in out_of_range(labels, num_classes, ignore_label).items():
        report.problem("label out of range", file, f"{where}value {value} in {count} pixels")
    return counts
