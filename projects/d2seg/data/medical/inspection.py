"""Looks at one slice of medical data, for ``tools/check_dataset.py``."""

from typing import Any

import cv2
import numpy as np

from ..inspection.dataset import LabelSpace
from ..inspection.fingerprints import GREY_SIDE, measures_of
from ..inspection.label_counts import count_labels
from ..inspection.report import Report
from .files import ArrayFileError, read_slice


def inspect_slice(entry: dict[str, Any], space: LabelSpace, is_measuring: bool = False) -> Report:
    """What is annotated in the slice of a dict, and what is wrong with it; and its measures."""
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
    if is_measuring:
        grey = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
        grey = cv2.resize(grey, (GREY_SIDE, GREY_SIDE), interpolation=cv2.INTER_AREA)
        report.picture = measures_of(grey, image.shape[:2])
    count_labels(label, space.num_classes["semantic"], space.ignore_label, file, report, where)
    return report
