"""What is wrong with data: raised at once where they are used, collected where they are inspected.
And the values of annotations, checked for kind, finiteness and range.
"""

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..pictures import MAX_PIXELS
from .inspection.report import Problem

_NUMBERS = frozenset({int, float})
_MAX_COORDINATE = 1e7  # of boxes, in pixels
_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 8
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 60


class AnnotationFileError(ValueError):
    """A file of annotations that a declaration names, and that cannot be used as a whole."""


@dataclass
class Faults:
    """The faults of one file.

    Args:
        file: for the messages
        is_collecting: keep the faults in ``problems``; else the first one is raised
    """

    file: str
    is_collecting: bool = False
    problems: list[Problem] = field(default_factory=list)

    def add(
        self, kind: str, detail: str, picture: str = "", subject: tuple[str, int] | None = None
    ) -> None:
        """Note a fault, of one picture where that is given; ``subject`` is the problem's.

        Raises:
            ValueError: of the file, the picture and ``detail``, where faults are not collected.
        """
        if not self.is_collecting:
            raise ValueError(": ".join(filter(None, (self.file, picture, detail))))
        self.problems.append(Problem(kind, picture or self.file, detail, subject))


def is_id(value: Any) -> bool:
    """Whether ``value`` can number an image or an annotation."""
    return isinstance(value, str) or type(value) is int


def flag(value: Any, key: str = "iscrowd") -> int:
    """0 or 1 of a JSON value: a number, a truth value, their text; null and nothing are 0.

    Raises:
        ValueError: another value.
    """
    if value is None:
        return 0
    value = _plain(value)
    if isinstance(value, str) and value in ("0", "1"):
        return int(value)
    if isinstance(value, int | float | np.bool_ | np.number) and value in (0, 1):
        return int(value)
    raise ValueError(f"'{key}' is {shown(value)}; it is 0 or 1")


def whole_number(value: Any, key: str) -> int:
    """An integer, also one that is written as 3.0 or comes from numpy.

    Raises:
        ValueError: it is none.
    """
    if type(value) is int:
        return value
    value = _plain(value)
    if type(value) is int or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise ValueError(f"'{key}' is {shown(value)}; it is a whole number")


def _plain(value: Any) -> Any:
    """Python's number of one that is numpy's or a tensor."""
    is_foreign = isinstance(value, np.generic | np.ndarray | torch.Tensor)
    return value.item() if is_foreign and value.ndim == 0 else value


def image_size(entry: dict[str, Any]) -> tuple[int, int]:
    """(height, width) of an entry.

    Raises:
        ValueError: they are missing, no positive whole numbers, or more than can be read.
    """
    height = whole_number(entry.get("height"), "height")
    width = whole_number(entry.get("width"), "width")
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(
            f"'height' and 'width' are {height} and {width}; they are at least 1, and make at most "
            f"{MAX_PIXELS} pixels"
        )
    return height, width


def box(values: Any) -> list[float]:
    """The numbers of a bounding box of four, or, if it is turned, of five.

    Raises:
        ValueError: it is no list of so many finite numbers.
    """
    if isinstance(values, np.ndarray | torch.Tensor):
        values = values.tolist()
    if type(values) is not list and isinstance(values, Sequence) and not isinstance(values, str):
        values = [float(v) if isinstance(v, np.number) else v for v in values]
    if type(values) is list and len(values) in (4, 5) and _NUMBERS.issuperset(map(type, values)):
        in_range = min(values) >= -_MAX_COORDINATE and max(values) <= _MAX_COORDINATE
        if in_range and not math.isnan(sum(values)):  # which min and max may miss
            return values
    raise ValueError(f"'bbox' is {shown(values)}; it is four finite numbers, in pixels")


def check_keypoints(values: Any) -> None:
    """See that key points are x, y and visibility of each, all of them finite numbers.

    Raises:
        ValueError: they are not.
    """
    if isinstance(values, np.ndarray | torch.Tensor):
        values = values.reshape(-1).tolist()
    is_list = isinstance(values, list | tuple) and len(values) % 3 == 0
    if not is_list or not all(
        type(v) in _NUMBERS and -_MAX_COORDINATE <= v <= _MAX_COORDINATE for v in values
    ):
        raise ValueError(
            f"'keypoints' is {shown(values)}; it is x, y and visibility of each point, in pixels"
        )


def area(value: Any) -> float:
    """Pixels of a mask as a file says.

    Raises:
        ValueError: it is no finite number from 0 on.
    """
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= MAX_PIXELS or not math.isfinite(value):
        raise ValueError(f"'area' is {shown(value)}; it is a number of pixels, or left out")
    return float(value)


def shown(value: Any) -> str:
    """A value of a file in one short line, however long or deep it is."""
    text = "missing" if value is None else " ".join(_SHORT.repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
