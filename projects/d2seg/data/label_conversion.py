"""Label images made into label maps of class ids: values by a table, or colours by a declaration.

A conversion refuses what would lose labels and counts what it merges, for the user to see.

H, W: height and width of a label image.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np

from ..pictures import UnreadableFileError, opened
from .datasets.declaration import read_classes
from .inspection.label_counts import value_counts
from .label_maps import read_labels

_LOWEST, _HIGHEST = -(1 << 15), (1 << 16) - 1  # of the values that a table knows
_COLOR_MODES = {"1", "L", "P", "RGB", "RGBA", "LA", "PA"}  # of 8 bits, which RGB holds
_MAX_SHOWN = 5


class Conversion(ABC):
    """Called with a file, gives its label map, (H, W) uint8 or uint16. By several threads.

    Raises:
        ValueError: the file cannot be read, or has what the rule does not cover.
    """

    @abstractmethod
    def __call__(self, file: Path) -> np.ndarray: ...

    @abstractmethod
    def remarks(self) -> list[str]:
        """What the user should know of the files that were converted, a line each."""


class ValueTable(Conversion):
    """Replaces values by others.

    Args:
        new_values: those that are replaced; any other one stays
        highest: values above it are refused
        listed: values that the user has named
    """

    def __init__(
        self, new_values: dict[int, int], highest: int = _HIGHEST, listed: Sequence[int] = ()
    ) -> None:
        self._table = np.arange(_LOWEST, _HIGHEST + 1, dtype=np.int32)
        for old, new in new_values.items():
            self._table[old - _LOWEST] = new
        self._highest = highest
        self._listed = listed
        self._pixels: Counter[int] = Counter()
        self._lock = Lock()

    @classmethod
    def reducing_zero(cls, ignore_label: int) -> "ValueTable":
        """One less for every value; 0 becomes the ignore label, and the ignore label stays.

        Raises:
            ValueError: ``ignore_label`` is no value of a label map.
        """
        if not 0 < ignore_label <= _HIGHEST:
            raise ValueError(
                f"--ignore-label is {ignore_label}; it is 1 to {_HIGHEST}, as a rule 255"
            )
        table = {value: value - 1 for value in range(1, ignore_label)}
        return cls({**table, 0: ignore_label}, highest=ignore_label)

    @classmethod
    def of_pairs(cls, pairs: Sequence[str]) -> "ValueTable":
        """Of texts OLD:NEW.

        Raises:
            ValueError: one has another form, or two give one value different labels.
        """
        new_values: dict[int, int] = {}
        for pair in pairs:
            old, new = _numbers(pair)
            if new_values.setdefault(old, new) != new:
                raise ValueError(f"--map makes {old} both {new_values[old]} and {new}; say one")
        return cls(new_values, listed=tuple(new_values))

    def __call__(self, file: Path) -> np.ndarray:
        values = read_labels(file)
        found = value_counts(values)
        for value in found:
            if not _LOWEST <= value <= _HIGHEST:
                raise ValueError(
                    f"{file}: the value {value} in {found[value]} pixels; labels are 0.."
                    f"{_HIGHEST}, so number them anew"
                )
            if value > self._highest:
                raise ValueError(
                    f"{file}: the value {value} is above the ignore label {self._highest}, so it "
                    f"is a class, and {self._highest + 1} would become the ignore label; add "
                    "--ignore-label 65535"
                )
            if self._table[value - _LOWEST] < 0:
                raise ValueError(
                    f"{file}: the value {value} in {found[value]} pixels; labels are 0..{_HIGHEST}"
                    f", so give it one: --map {value}:255"
                )
        with self._lock:
            self._pixels.update(found)
        labels = self._table[values.astype(np.int64, copy=False) - _LOWEST]
        return labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)

    def remarks(self) -> list[str]:
        merged: dict[int, list[int]] = {}
        for value in sorted(self._pixels):
            merged.setdefault(int(self._table[value - _LOWEST]), []).append(value)
        lines = [
            f"the values {' and '.join(map(str, values[:_MAX_SHOWN]))} are one label now, {new}"
            for new, values in merged.items()
            if len(values) > 1
        ]
        absent = [value for value in self._listed if value not in self._pixels]
        if absent:
            lines.append(f"--map: no file has the value {', '.join(map(str, absent))}")
        return lines


class ColorTable(Conversion):
    """Gives each pixel the position of its colour.

    Args:
        colors: red, green, blue of each class
        ignore_label: of any other colour
    """

    def __init__(self, colors: Sequence[tuple[int, int, int]], ignore_label: int) -> None:
        dtype = np.uint8 if max(ignore_label, len(colors) - 1) < 256 else np.uint16
        self._table = np.full(1 << 24, ignore_label, dtype)
        self._is_known = np.zeros(1 << 24, bool)
        for number, (red, green, blue) in enumerate(colors):
            code = red * 256**2 + green * 256 + blue
            self._table[code], self._is_known[code] = number, True
        self._unknown: Counter[int] = Counter()
        self._first_file: dict[int, Path] = {}
        self._ignore_label = ignore_label
        self._lock = Lock()

    @classmethod
    def of_declaration(cls, file: str | Path) -> "ColorTable":
        """Of a declaration's 'classes' and 'colors'.

        Raises:
            ValueError: as ``read_classes``, or two classes have one colour.
        """
        categories, ignore_label = read_classes(file)
        names: dict[tuple[int, int, int], str] = {}
        for category in categories:
            color = tuple(category.color)
            if names.setdefault(color, category.name) != category.name:
                raise ValueError(
                    f"{file}: 'colors' has {list(color)} for {names[color]!r} and for "
                    f"{category.name!r}, which cannot be told apart in a label image; correct it"
                )
        return cls([category.color for category in categories], ignore_label)

    def __call__(self, file: Path) -> np.ndarray:
        try:
            with opened(file) as image:
                if image.mode not in _COLOR_MODES:
                    raise ValueError(
                        f"it has the mode {image.mode!r}; colours have 8 bits for each of red, "
                        "green and blue, so save it as RGB"
                    )
                colors = np.array(image.convert("RGB"))
        except UnreadableFileError as error:
            raise ValueError(f"{file}: the colours cannot be read: {error.reason}") from error
        codes = colors.astype(np.int32) @ np.array([256**2, 256, 1], np.int32)
        unknown = value_counts(codes[~self._is_known[codes]])
        with self._lock:
            self._unknown.update(unknown)
            for code in unknown:
                self._first_file.setdefault(code, file)
        return self._table[codes]

    def remarks(self) -> list[str]:
        if not self._unknown:
            return []
        shown = ", ".join(
            f"[{code >> 16}, {code >> 8 & 255}, {code & 255}] ({pixels} pixels, as in "
            f"{self._first_file[code]})"
            for code, pixels in self._unknown.most_common(_MAX_SHOWN)
        )
        return [
            f"{len(self._unknown)} colours are not declared and have the ignore label "
            f"{self._ignore_label} now: {shown}"
        ]


def _numbers(pair: str) -> tuple[int, int]:
    old, _, new = pair.strip().partition(":")
    try:
        values = int(old), int(new)
    except ValueError:
        values = (_LOWEST - 1, -1)
    if not (_LOWEST <= values[0] <= _HIGHEST and 0 <= values[1] <= _HIGHEST):
        raise ValueError(f"--map {pair.strip()}: it has the form OLD:NEW, as 255:1")
    return values
