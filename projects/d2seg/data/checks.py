"""Checking of label maps: cheap enough to run on every training sample.

Shape legend: H, W: height and width of the label map.
"""

from pathlib import Path

import numpy as np


def check_labels(
    labels: np.ndarray, num_classes: int, ignore_label: int, file_name: str | Path
) -> None:
    """Raise ``ValueError`` unless every label is a class or ``ignore_label``.

    The message has the file, and the values with their counts.

    labels: integers of any shape; valid are ``0 .. num_classes - 1`` and ``ignore_label``.
    """
    if labels.size == 0:
        return
    # Most maps have at most the ignore label above the classes: two reductions settle those.
    if labels.min() >= 0:
        highest = labels.max()
        if highest < num_classes:
            return
        if highest == ignore_label and np.all((labels < num_classes) | (labels == ignore_label)):
            return
    wrong = out_of_range(labels, num_classes, ignore_label)
    if not wrong:
        return
    shown = ", ".join(f"{value} ({count} times)" for value, count in list(wrong.items())[:5])
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    raise ValueError(
        f"{file_name}: labels outside of 0..{num_classes - 1} "
        f"(ignore label {ignore_label}): {shown}{more}; "
        "tools/check_dataset.py lists all files of a data set that have this"
    )


def out_of_range(labels: np.ndarray, num_classes: int, ignore_label: int) -> dict[int, int]:
    """Values that are neither a class nor ``ignore_label``, with their numbers of pixels."""
    wrong = labels[((labels < 0) | (labels >= num_classes)) & (labels != ignore_label)]
    values, counts = np.unique(wrong, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
