"""Pictures that data sets hold more than once: duplicates, and leaks between splits."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.data import Metadata

from .fingerprints import MAX_DISTANCE, distances, near_groups
from .measures import Inspected

# Words in names that say a split, and which pictures it holds
_SPLITS = {
    "train": {"train"}, "training": {"train"}, "val": {"val"}, "valid": {"val"},
    "validation": {"val"}, "test": {"test"}, "testing": {"test"}, "dev": {"val"},
    "trainval": {"train", "val"},
}  # fmt: skip
_WORDS = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class Place:
    """A picture of a data set: the data set's position in the list, and the entry's number."""

    dataset: int
    number: int
    file: str


@dataclass(frozen=True)
class Group:
    """Pictures that are nearly the same.

    Attributes:
        distance: bits of the hash in which one differs from the first, at most
        is_same_file: all files have the same content
        leaks: positions in ``places`` of pictures that are in a split of their own, too
    """

    places: list[Place]
    distance: int
    is_same_file: bool
    leaks: list[int]


@dataclass(frozen=True)
class Leak:
    """Pictures of one split that are nearly the same as pictures of another."""

    first: str
    second: str
    pairs: list[tuple[str, str]]  # a file of ``second`` and the nearest one of ``first``


@dataclass(frozen=True)
class Duplicates:
    """What is found in several data sets together."""

    groups: list[Group]
    leaks: list[Leak]
    is_complete: bool  # False: not all pairs were compared, there may be more


def find_duplicates(
    inspected: Sequence[Inspected], roles: Mapping[str, str] | None = None
) -> Duplicates:
    """Look for pictures that are nearly the same, in all data sets together.

    Args:
        roles: "train" or "test" of data sets, where a config says it
    """
    names = [one.name for one in inspected]
    codes = np.concatenate([one.measures.codes for one in inspected])
    places = [
        Place(dataset, number, one.measures.files[number])
        for dataset, one in enumerate(inspected)
        for number in one.measures.hashed
    ]
    apart = _apart(names, [one.metadata for one in inspected], roles or {})
    found, is_complete = near_groups(codes)
    groups, pairs = [], {}
    for rows in found:
        members = [places[row] for row in rows]
        leaks = _leaks_of(members, codes[rows], apart, pairs)
        distance = int(distances(codes[rows], codes[rows[0]]).max())
        if leaks or not _is_one_picture(members):
            is_same = distance == 0 and _have_same_content(members)
            groups.append(Group(members, distance, is_same, leaks))
    groups.sort(key=lambda group: (not group.leaks, group.distance, -len(group.places)))
    leaks = [Leak(names[a], names[b], found) for (a, b), found in sorted(pairs.items())]
    return Duplicates(groups, leaks, is_complete)


def split_of(name: str) -> frozenset[str]:
    """Of "train", "val" and "test" what a data set's name says; nothing if it does not."""
    words = _WORDS.findall(name.lower())
    return frozenset().union(*(_SPLITS.get(word, ()) for word in words))


def _apart(
    names: Sequence[str], metadata: Sequence[Metadata], roles: Mapping[str, str]
) -> set[tuple[int, int]]:
    """Pairs (a, b), a < b, of data sets that may have no picture in common.

    Those that a config trains on and tests on; or else the splits of one declaration, and data sets
    whose names have different words for a split. Other pairs, as instances and segments of the same
    pictures, may share them.
    """
    found = set()
    for b, second in enumerate(names):
        for a, first in enumerate(names[:b]):
            kinds = roles.get(first), roles.get(second)
            splits = split_of(first), split_of(second)
            files = [metadata[i].get("declared_in") for i in (a, b)]
            if None not in kinds:
                is_apart = kinds[0] != kinds[1]
            elif files[0] is not None and files[0] == files[1]:
                is_apart = first != second
            else:
                is_apart = all(splits) and splits[0].isdisjoint(splits[1])
            if is_apart:
                found.add((a, b))
    return found


def _leaks_of(
    members: list[Place],
    codes: np.ndarray,
    apart: set[tuple[int, int]],
    pairs: dict[tuple[int, int], list[tuple[str, str]]],
) -> list[int]:
    """Add the pairs of splits that have a picture of the group in common to ``pairs``; return the
    positions of these pictures."""
    leaked: set[int] = set()
    datasets = np.array([place.dataset for place in members])
    for a, b in sorted(apart):
        in_a, in_b = np.flatnonzero(datasets == a), np.flatnonzero(datasets == b)
        if not len(in_a):
            continue
        for row in in_b:
            apart_by = distances(codes[in_a], codes[row])
            nearest = int(apart_by.argmin())
            if apart_by[nearest] <= MAX_DISTANCE:
                leaked |= {int(row), int(in_a[nearest])}
                pair = members[row].file, members[in_a[nearest]].file
                pairs.setdefault((a, b), []).append(pair)
    return sorted(leaked)


def _is_one_picture(members: list[Place]) -> bool:
    """Whether data sets of the same pictures name one file: no duplicate unless it is a leak."""
    places = {(place.dataset, place.file) for place in members}
    return len({file for _, file in places}) == 1 and len(places) == len(members)


def _have_same_content(members: list[Place]) -> bool:
    digests = set()
    for file in {place.file for place in members}:
        try:
            digests.add(hashlib.sha256(Path(file).read_bytes()).digest())
        except OSError:  # a slice of a volume, or gone since
            return False
    return len(digests) == 1
