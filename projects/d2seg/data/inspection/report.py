"""What an inspection finds: counts by class and a list of problems."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: what kind of thing, in which file, and the particulars."""

    kind: str
    file: str
    detail: str
    # What of the picture: ("annotation", place among those that can be used), ("unsound", place
    # among all annotations), ("segment", id) or ("value", label)
    subject: tuple[str, int] | None = None


@dataclass(frozen=True)
class PictureMeasures:
    """What a report of a data set counts of one picture."""

    height: int
    width: int
    brightness: float  # mean of the grey values, 0..255
    code: bytes | None  # perceptual hash (fingerprints.py); None: the picture shows nothing


@dataclass
class Counts:
    """By contiguous class id: images that show it, instances (or segments) and pixels."""

    images: Counter = field(default_factory=Counter)
    instances: Counter = field(default_factory=Counter)
    pixels: Counter = field(default_factory=Counter)

    def add(self, other: "Counts") -> None:
        self.images.update(other.images)
        self.instances.update(other.instances)
        self.pixels.update(other.pixels)


@dataclass
class Report:
    """What was found in a data set, or in one entry of it."""

    num_images: int = 0
    num_turned: int = 0  # by their EXIF data
    counts: dict[str, Counts] = field(default_factory=dict)  # by source
    formats: Counter = field(default_factory=Counter)  # of instance masks
    values: Counter = field(default_factory=Counter)  # of label maps, with their pixels
    undeclared: Counter = field(default_factory=Counter)  # of them, where values are declared
    problems: list[Problem] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)  # about the whole data set
    hints: list[str] = field(default_factory=list)
    # of one entry only, hence not added up
    picture: PictureMeasures | None = None
    areas: list[int] = field(default_factory=list)  # of instances and segments, in pixels

    def add(self, other: "Report") -> None:
        self.num_images += other.num_images
        self.num_turned += other.num_turned
        for source, counts in other.counts.items():
            self.counts.setdefault(source, Counts()).add(counts)
        self.formats.update(other.formats)
        self.values.update(other.values)
        self.undeclared.update(other.undeclared)
        self.problems += other.problems

    def problem(
        self, kind: str, file: str, detail: str = "", subject: tuple[str, int] | None = None
    ) -> None:
        self.problems.append(Problem(kind, file, detail, subject))
