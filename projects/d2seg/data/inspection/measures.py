"""What a page on a data set shows besides the counts and problems of its report.

Of each picture 18 bytes of hash and its path are kept; all else has bounded size.
"""

import random
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from detectron2.data import Metadata

from ..readers import PictureReader
from .fingerprints import codes_of
from .report import Counts, Problem, Report

Entry = dict[str, Any]

NUM_SAMPLES = 12  # pictures at random, and of the rarest classes
EXAMPLES_PER_KIND = 4  # of problems that are shown
BRIGHTNESS_BIN = 16  # grey values
_SEED = 0


@dataclass
class Measures:
    """Of one data set. Numbers of entries count from 0 in its order."""

    resolutions: Counter = field(default_factory=Counter)  # of (height, width)
    brightness: Counter = field(default_factory=Counter)  # of pictures, by BRIGHTNESS_BIN
    objects: Counter = field(default_factory=Counter)  # pictures by their number of objects
    sides: Counter = field(default_factory=Counter)  # objects by floor(log2(square root of area))
    hashes: bytearray = field(default_factory=bytearray)
    hashed: array = field(default_factory=lambda: array("q"))  # numbers of the entries of these
    blank: list[int] = field(default_factory=list)  # entries whose picture shows nothing
    files: list[str] = field(default_factory=list)  # of every entry
    entries: dict[int, Entry] = field(default_factory=dict)  # those that are to be shown
    samples: list[int] = field(default_factory=list)
    rarest: list[tuple[str, int, int]] = field(default_factory=list)  # source, class, entry
    examples: dict[str, list[tuple[int | None, Problem]]] = field(default_factory=dict)
    # by source and class: most pixels of it in a picture, and the entry of that
    _most: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    @property
    def codes(self) -> Any:
        """(N, 9) uint16 of the pictures that are hashed."""
        return codes_of(self.hashes)

    def add(self, number: int, report: Report) -> None:
        """Count the report of one entry."""
        picture = report.picture
        if picture is not None:
            self.resolutions[picture.height, picture.width] += 1
            self.brightness[int(picture.brightness) // BRIGHTNESS_BIN] += 1
            if picture.code is None:
                self.blank.append(number)
            else:
                self.hashes += picture.code
                self.hashed.append(number)
        for source, counts in report.counts.items():
            for category in counts.images:
                pixels, _ = self._most.get((source, category), (-1, 0))
                if counts.pixels[category] > pixels:
                    self._most[source, category] = counts.pixels[category], number
        self._count_objects(report)
        for problem in report.problems:
            self._note(problem, number)

    def _count_objects(self, report: Report) -> None:
        """Instances and segments; of label maps, the parts of a picture that are of one class."""
        areas = report.areas
        sources = report.counts.keys() & {"instance", "panoptic"}
        if not sources:
            if "semantic" not in report.counts:
                return
            areas = [n for n in report.counts["semantic"].pixels.values() if n]
            self.objects[len(areas)] += 1
        else:
            counts = report.counts["panoptic" if "panoptic" in sources else "instance"]
            self.objects[sum(counts.instances.values())] += 1
        # half the bits of the area, as its square root has
        self.sides.update((int(area).bit_length() - 1) // 2 for area in areas if area)

    def _note(self, problem: Problem, number: int | None) -> None:
        shown = self.examples.setdefault(problem.kind, [])
        if len(shown) < EXAMPLES_PER_KIND:
            shown.append((number, problem))

    def choose(self, entries: list[Entry], report: Report) -> None:
        """After the last entry: take what is to be shown from the entries.

        Args:
            report: of the whole data set
        """
        self.files = [_name(entry) for entry in entries]
        of_file = {file: number for number, file in reversed([*enumerate(self.files)])}
        noted = {id(problem) for shown in self.examples.values() for _, problem in shown}
        for problem in report.problems:  # those of no entry: of the loader, or of the whole
            if id(problem) not in noted:
                self._note(problem, of_file.get(problem.file))
        num = min(NUM_SAMPLES, len(entries))
        self.samples = sorted(random.Random(_SEED).sample(range(len(entries)), num))
        self.rarest = _rarest(report.counts, self._most)
        of_problems = [number for shown in self.examples.values() for number, _ in shown]
        chosen = [*self.samples, *(number for *_, number in self.rarest), *of_problems]
        self.entries = {number: entries[number] for number in chosen if number is not None}


@dataclass
class Inspected:
    """What was found in one data set; ``error``: why it could not be loaded, then all is empty."""

    name: str
    metadata: Metadata
    report: Report = field(default_factory=Report)
    measures: Measures = field(default_factory=Measures)
    error: str = ""
    reader: PictureReader | None = None  # of pictures with other bands


def _rarest(
    counts: dict[str, Counts], most: dict[tuple[str, int], tuple[int, int]]
) -> list[tuple[str, int, int]]:
    """Source and class of what fewest pictures show, and the entry that has most of it."""
    found = [
        (counts[source].images[category], counts[source].pixels[category], source, category)
        for source, category in most
        if source == _main_source(counts)
    ]
    return [(s, c, most[s, c][1]) for *_, s, c in sorted(found)[:NUM_SAMPLES]]


def _main_source(counts: dict[str, Counts]) -> str:
    return next(s for s in ("panoptic", "instance", "semantic") if s in counts)


def _name(entry: Any) -> str:
    """Of an entry's picture; the entry may be unsound."""
    if not isinstance(entry, dict):
        return "(no dict)"
    name = str(entry.get("file_name"))
    return name if entry.get("slice_index") is None else f"{name}, slice {entry['slice_index']}"
