"""Looks at one slice of medical data, for ``tools/check_dataset.py``."""

from typing import Any

import numpy as np

from ..checks import out_of_range
from ..report import Counts, Report
from .files import ArrayFileError, read_slice


def inspect_slice(entry: dict[str, Any], num_classes: int, ignore_label: int) -> Report:
    """What is annotated in the slice of a dict, and what is wrong with it."""
    report = Report(num_images=1)
    file, index = entry["file_name"], entry.get("slice_index")
    where = "" if index is None else f"slice {index}: "
    try:
        image, label = read_slice(file, index)
    except ArrayFileError as error:
        report.problem("unreadable image", file, str(error))
        return report
    if image.min() < 0 or image.max() > 1:
        values = f"{where}{image.min():g} to {image.max():g}"
        report.problem("image values outside of 0..1", file, values)
    values, pixels = np.unique(label, return_counts=True)
    found = dict(zip(values.tolist(), pixels.tolist(), strict=True))
    report.values.update(found)
    counts = report.counts.setdefault("semantic", Counts())
    counts.pixels.update({v: n for v, n in found.items() if 0 <= v < num_classes})
    counts.images.update(counts.pixels.keys())
    for value, count in out_of_range(label, num_classes, ignore_label).items():
        report.problem("label out of range", file, f"{where}value {value} in {count} pixels")
    return report
