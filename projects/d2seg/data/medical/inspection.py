"""Looks at one slice of medical data, for ``tools/check_dataset.py``."""

from typing import Any

from ..inspection.dataset import LabelSpace
from ..inspection.label_counts import count_labels
from ..inspection.report import Report
from .files import ArrayFileError, read_slice


def inspect_slice(entry: dict[str, Any], space: LabelSpace) -> Report:
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
    count_labels(label, space.num_classes["semantic"], space.ignore_label, file, report, where)
    return report
