"""Histograms of a page on data sets: bins that all data sets share, and each one's counts."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .measures import BRIGHTNESS_BIN, Measures

_OBJECT_BINS = (0, 1, 2, 3, 5, 9, 17, 33, 65)  # from where on; the last one is open


@dataclass(frozen=True)
class Histogram:
    """Bars side by side.

    Attributes:
        counts: per data set and bin
        shares: the same, divided by the data set's sum
    """

    title: str
    x_label: str
    what: str  # is counted
    labels: list[str]
    counts: list[list[int]]

    @property
    def shares(self) -> list[list[float]]:
        return [[n / max(sum(row), 1) for n in row] for row in self.counts]


def histograms_of(measures: Sequence[Measures], is_semantic: bool) -> list[Histogram]:
    """Of brightness, size, aspect ratio, objects per picture and sizes of objects.

    Args:
        is_semantic: objects are the parts of a picture that are of one class
    """
    per_picture = "classes per picture" if is_semantic else "objects per picture"
    of_objects = "size of a class in a picture" if is_semantic else "size of objects"
    parts = "parts of pictures" if is_semantic else "objects"
    found = [
        _brightness([m.brightness for m in measures]),
        _octaves(
            "resolution", "longer edge, in pixels", "pictures", [_long_edges(m) for m in measures]
        ),
        _objects(per_picture, [m.objects for m in measures]),
        _octaves(
            of_objects, "square root of the area, in pixels", parts, [m.sides for m in measures]
        ),
    ]
    return [one for one in found if any(map(any, one.counts))]


def _brightness(counts: list[Counter]) -> Histogram:
    bins = range(256 // BRIGHTNESS_BIN)
    labels = [f"{b * BRIGHTNESS_BIN}-{(b + 1) * BRIGHTNESS_BIN - 1}" for b in bins]
    rows = [[one[b] for b in bins] for one in counts]
    return Histogram("brightness", "mean grey value of a picture", "pictures", labels, rows)


def _objects(title: str, counts: list[Counter]) -> Histogram:
    ends = [*_OBJECT_BINS[1:], math.inf]
    labels = [
        f"{low}+" if high == math.inf else str(low) if high == low + 1 else f"{low}-{high - 1}"
        for low, high in zip(_OBJECT_BINS, ends, strict=True)
    ]
    rows = [
        [
            sum(n for value, n in one.items() if low <= value < high)
            for low, high in zip(_OBJECT_BINS, ends, strict=True)
        ]
        for one in counts
    ]
    return Histogram(title, title, "pictures", labels, rows)


def _long_edges(measures: Measures) -> Counter:
    return _binned(measures.resolutions, lambda size: max(size).bit_length() - 1)


def _binned(counts: Counter, bin_of: Callable[[tuple[int, int]], int]) -> Counter:
    found: Counter = Counter()
    for value, n in counts.items():
        found[bin_of(value)] += n
    return found


def _octaves(title: str, x_label: str, what: str, counts: list[Counter]) -> Histogram:
    """Bins from a power of two to the next, from the first to the last that occurs."""
    present = [b for one in counts for b in one if one[b]]
    bins = range(min(present, default=0), max(present, default=-1) + 1)
    labels = ["1" if b == 0 else f"{1 << b}-{(2 << b) - 1}" for b in bins]
    return Histogram(title, x_label, what, labels, [[one[b] for b in bins] for one in counts])
