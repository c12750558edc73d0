"""What the pixel values of label images stand for, where they are not the class ids themselves:
masks of 0 and 255, JPEG masks, numbered instances. The key ``values`` of docs/own_data.md.

H, W: height and width of a label image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

OTHER = "other"  # the key of all values that are not listed
MAX_LABEL = 65535  # that a label map can hold
_NUM_VALUES = MAX_LABEL + 1
_UNDECLARED = -1


@dataclass(frozen=True)
class LabelValues:
    """The label of every pixel value.

    Args:
        labels: (value, label) of the declared values, in ascending order; a label is a class id, or
            the ignore label.
        other: label of all other values; None: another value is an error.
        nearest: an undeclared value counts as the nearest one of ``classes``, the lower one of two:
            what JPEG makes of a mask.
        classes: the values that stand for a class, in ascending order.
    """

    labels: tuple[tuple[int, int], ...]
    classes: tuple[int, ...]
    other: int | None = None
    nearest: bool = False

    def to_labels(self, values: np.ndarray, file: str | Path) -> np.ndarray:
        """The labels, (H, W) uint8 or uint16, of the pixel values (H, W) of ``file``.

        Raises:
            ValueError: values that are not declared; the message has the file, the values with
                their counts, and the remedy.
        """
        labels = self.look_up(values)
        if labels.size and labels.min() < 0:
            raise ValueError(self._complaint(values, file))
        return labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)

    def look_up(self, values: np.ndarray) -> np.ndarray:
        """Do as :meth:`to_labels`, (H, W) int32, with -1 for undeclared values."""
        table = _table(self)
        if values.dtype == np.uint8:
            return table[values]
        labels = table[np.clip(values, 0, _NUM_VALUES - 1)]
        beyond = (values < 0) | (values >= _NUM_VALUES)
        labels[beyond] = _UNDECLARED if self.other is None else self.other
        return labels

    def undeclared(self, values: np.ndarray) -> dict[int, int]:
        """The values that are not declared, with their numbers of pixels."""
        found, counts = np.unique(values[self.look_up(values) < 0], return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))

    def are_brightness(self, highest: int) -> bool:
        """Whether the values of grey of few bits are declared by their brightness, 0 to 255, and
        not by their numbers, 0 to ``highest``: one is a class above, and none but 0 within. All
        files of a data set are read alike, so what a single one holds does not count."""
        return any(v > highest for v in self.classes) and not any(
            0 < v <= highest for v in self.classes
        )

    def white(self) -> int:
        """What the white of a picture of one bit stands for: 255 or 1, whichever is declared."""
        declared = {value for value, _ in self.labels}
        return 255 if 255 in declared and 1 not in declared else 1

    def _complaint(self, values: np.ndarray, file: str | Path) -> str:
        wrong = self.undeclared(values)
        shown = ", ".join(f"{value} ({count} times)" for value, count in list(wrong.items())[:5])
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        return (
            f"{file}: label values that 'values' does not list: {shown}{more}; list them, or set "
            "nearest_value: true if the masks were saved as JPEG or resized with interpolation; "
            "tools/check_dataset.py lists all files of a data set that have this"
        )


@lru_cache(maxsize=32)
def _table(values: LabelValues) -> np.ndarray:
    """The label of every value up to 65535, int32; -1 for what is not declared."""
    table = np.full(_NUM_VALUES, _UNDECLARED if values.other is None else values.other, np.int32)
    declared = dict(values.labels)
    if values.nearest:
        classes = np.array(values.classes)
        middles = (classes[:-1] + classes[1:]) // 2  # an odd sum is between two whole numbers
        table[:] = declared[values.classes[0]]
        for middle, value in zip(middles, values.classes[1:], strict=True):
            table[middle + 1 :] = declared[value]
    for value, label in values.labels:
        table[value] = label
    return table


def parse_label_values(
    values: Any, class_names: Sequence[str], *, nearest: Any = False, ignore_label: int | None
) -> LabelValues:
    """Read the keys ``values`` and ``nearest_value`` of a declaration.

    Args:
        values: {pixel value or "other": class name}
        ignore_label: the value of pixels without a class; a value that is listed is none. None:
            there is no such value.

    Raises:
        ValueError: they do not have this form, or name a class that there is not.
    """
    if not isinstance(values, Mapping) or not values:
        raise ValueError(
            "'values' has the form {0: background, 255: polyp}: a class for each value"
        )
    if not isinstance(nearest, bool):
        raise ValueError(f"nearest_value is {nearest!r}; it is true or false")
    listed: dict[int, int] = {}
    other = None
    for key, name in values.items():
        if str(name) not in class_names:
            raise ValueError(
                f"'values' maps {key} to {name!r}, which is not among the classes "
                f"{', '.join(class_names)}"
            )
        label = list(class_names).index(str(name))
        if key == OTHER:
            other = label
        elif (value := _value(key)) in listed:
            raise ValueError(f"'values' lists {value} twice, once as {key!r}; keep one")
        else:
            listed[value] = label
    if nearest and (other is not None or not listed):
        raise ValueError("'values' has 'other', which leaves nothing to nearest_value; drop either")
    classes = tuple(sorted(listed))
    if ignore_label is not None and 0 <= ignore_label < _NUM_VALUES:
        listed.setdefault(ignore_label, ignore_label)
    return LabelValues(tuple(sorted(listed.items())), classes, other, nearest)


def check_ignore_label(value: int, what: str) -> None:
    """Raise ``ValueError`` where no label map can hold an ignore label; ``what`` begins it."""
    if not 0 <= value <= MAX_LABEL:
        raise ValueError(
            f"{what} is {value}, which a label map cannot hold; it is 0 to {MAX_LABEL}, as a rule "
            f"255: convert label maps with tools/prepare_own_labels.py --map {value}:255"
        )


def names_in(values: Any) -> list[str]:
    """The class names of ``values`` in the order they are listed: the classes where a declaration
    does not say ``classes``."""
    return list(dict.fromkeys(map(str, values.values()))) if isinstance(values, Mapping) else []


def _value(key: Any) -> int:
    number = int(key) if isinstance(key, str) and key.isdecimal() else key  # JSON's keys are text
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < _NUM_VALUES:
        raise ValueError(
            f"'values' has the key {key!r}; it is a pixel value, 0 to 65535, or 'other'"
        )
    return number
