"""Detections of tiles as detections of the picture: each object is its owner's, those that all
tiles cut are joined, duplicates suppressed.

The owner of a detection is the tile in whose core most of it lies. What an owner sees whole is as
it says, and what others make of the same place is dropped. Of the rest, two detections of
neighbouring tiles are one object where they have one class and agree, by mask, in what the tiles
share. Each joins at most one of each other tile, the surest pairs first, so that a doubtful mask
over two objects does not make them one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .mask_crops import Crop, PackedCrop, count, intersection
from .tiles import Rectangle, Tile

JOINED_IOU = 0.5  # of two parts of an object in what two tiles share
JOINED_IOS = 0.75  # or so much of the smaller one lies in the other
DUPLICATE_IOU = 0.5  # of two detections of one object, seen whole by two tiles
DUPLICATE_IOS = 0.8


class UnionFind:
    """Disjoint sets of 0 .. n-1."""

    def __init__(self, number: int = 0) -> None:
        self._parent = list(range(number))

    def add(self) -> int:
        """A new set of one element, which is returned."""
        self._parent.append(len(self._parent))
        return self._parent[-1]

    def root(self, element: int) -> int:
        while self._parent[element] != element:
            self._parent[element] = self._parent[self._parent[element]]
            element = self._parent[element]
        return element

    def join(self, first: int, second: int) -> None:
        low, high = sorted((self.root(first), self.root(second)))
        self._parent[high] = low


@dataclass
class Detection:
    """An object as the tiles of ``tiles`` see it. ``box``: left, top, right, bottom."""

    crop: PackedCrop
    box: list[float]
    score: float
    category: int
    tiles: frozenset[int]


def join_detections(detections: Sequence[Detection], tiles: Sequence[Tile]) -> list[Detection]:
    """
    Args:
        detections: in coordinates of the picture, each of one tile, with trimmed crops.

    Returns:
        The picture's detections, best first. A joined one has the best score of its parts.
    """
    owned, cut = _by_owner(detections, tiles)
    found = [*owned, *_joined(_not_known(cut, owned), tiles)]
    return _suppress_duplicates(sorted(found, key=lambda one: -one.score))


def _by_owner(
    detections: Sequence[Detection], tiles: Sequence[Tile]
) -> tuple[list[Detection], list[Detection]]:
    """Those that their owner has found and sees whole, and those that their owner cuts. What an
    owner sees whole and another tile has found, the owner has judged."""
    owned, cut = [], []
    for found in detections:
        (number,) = found.tiles
        left, top, right, bottom = found.crop.box()
        extent = (top, left, bottom, right)
        owner = owner_of(found.crop.unpacked(), number, tiles)
        if not tiles[owner].shows(extent):
            cut.append(found)
        elif owner == number:
            owned.append(found)
    return owned, cut


def owner_of(crop: Crop, number: int, tiles: Sequence[Tile]) -> int:
    """The tile in whose core most of a mask of tile ``number`` lies; that one, of equals."""
    own = count(crop.within(*tiles[number].core))
    if 2 * own >= crop.area():
        return number
    near = [
        other
        for other, tile in enumerate(tiles)
        if tile.core[0] < crop.bottom
        and crop.top < tile.core[2]
        and tile.core[1] < crop.right
        and crop.left < tile.core[3]
    ]
    shares = {other: count(crop.within(*tiles[other].core)) for other in near}
    return max(shares, key=lambda other: (shares[other], other == number))


def _not_known(detections: Sequence[Detection], owned: Sequence[Detection]) -> list[Detection]:
    """Those of which less than half is what owners have found whole, with at least half the score
    of the detection."""
    boxes = np.array([whole.crop.box() for whole in owned]).reshape(-1, 4)
    scores = np.array([whole.score for whole in owned])
    kept = []
    for found in detections:
        box = np.array(found.crop.box())
        near = (boxes[:, :2] < box[2:]).all(1) & (boxes[:, 2:] > box[:2]).all(1)
        crop = found.crop.unpacked()
        free = Crop(crop.mask.clone(), crop.top, crop.left)
        for place in np.flatnonzero(near & (2 * scores >= found.score)):
            left, top, right, bottom = owned[place].crop.box()
            whole = owned[place].crop.unpacked()
            free.within(top, left, bottom, right)[whole.within(*free.rectangle())] = False
            if 2 * free.area() <= crop.area():
                break
        else:
            kept.append(found)
    return kept


def _joined(detections: Sequence[Detection], tiles: Sequence[Tile]) -> list[Detection]:
    """Detections that seams cut, put together."""
    groups = UnionFind(len(detections))
    of_tile: dict[int, list[int]] = {}
    for number, detection in enumerate(detections):
        of_tile.setdefault(next(iter(detection.tiles)), []).append(number)
    for first in of_tile:
        for second in of_tile:
            if first < second and tiles[first].shares_with(tiles[second]):
                pairs = _pairs(detections, of_tile[first], of_tile[second], tiles, (first, second))
                for one, other in one_to_one(pairs):
                    groups.join(one, other)
    parts: dict[int, list[Detection]] = {}
    for number, detection in enumerate(detections):
        parts.setdefault(groups.root(number), []).append(detection)
    joined = [_merge(of_object, tiles) for of_object in parts.values()]
    return [
        found
        for found, of_object in zip(joined, parts.values(), strict=True)
        if found.crop.area() and not _is_foreign_remnant(found, of_object, tiles)
    ]


def one_to_one(pairs: Sequence[tuple[float, int, int]]) -> list[tuple[int, int]]:
    """Pairs (weight, a, b), the heaviest first, in which no a and no b comes twice."""
    chosen: list[tuple[int, int]] = []
    taken: tuple[set[int], set[int]] = (set(), set())
    for _, one, other in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])):
        if one not in taken[0] and other not in taken[1]:
            taken[0].add(one)
            taken[1].add(other)
            chosen.append((one, other))
    return chosen


def agree(shared: int, first: int, second: int, iou: float, ios: float) -> bool:
    """Whether masks of ``first`` and ``second`` pixels, ``shared`` of them common, are of one
    object: by intersection over union, or over the smaller one."""
    if not shared:
        return False
    return shared >= iou * (first + second - shared) or shared >= ios * min(first, second)


def _pairs(
    detections: Sequence[Detection],
    of_first: Sequence[int],
    of_second: Sequence[int],
    tiles: Sequence[Tile],
    numbers: tuple[int, int],
) -> list[tuple[float, int, int]]:
    one_area, other_area = (tiles[number].area for number in numbers)
    seam = (
        *(max(one_area[side], other_area[side]) for side in (0, 1)),
        *(min(one_area[side], other_area[side]) for side in (2, 3)),
    )
    # only what the tiles share is looked at, once for each detection
    firsts = _within_seam(detections, of_first, seam)
    seconds = _within_seam(detections, of_second, seam)
    found = []
    for one, first in firsts.items():
        for other, second in seconds.items():
            if detections[one].category != detections[other].category:
                continue
            shared = intersection(first, second)
            if not shared:
                continue
            areas = first.area(), second.area()
            if agree(shared, *areas, JOINED_IOU, JOINED_IOS):
                iou = shared / (sum(areas) - shared)
                score = min(detections[one].score, detections[other].score)
                found.append((score * iou, one, other))
    return found


def _within_seam(
    detections: Sequence[Detection], numbers: Sequence[int], seam: Rectangle
) -> dict[int, Crop]:
    """Of those that reach into a rectangle, the part of the mask there."""
    top, left, bottom, right = seam
    parts = {}
    for number in numbers:
        packed = detections[number].crop
        if top >= packed.bottom or packed.top >= bottom:
            continue
        if left >= packed.right or packed.left >= right:
            continue
        mask = packed.unpacked().within(*seam).clone()
        parts[number] = Crop(mask, max(packed.top, top), max(packed.left, left))
    return parts


def _merge(parts: Sequence[Detection], tiles: Sequence[Tile]) -> Detection:
    """One detection; in the core of a tile that sees the object, that tile's part counts."""
    if len(parts) == 1:
        return parts[0]
    top, left = (min(getattr(p.crop, side) for p in parts) for side in ("top", "left"))
    bottom, right = (max(getattr(p.crop, side) for p in parts) for side in ("bottom", "right"))
    mask = torch.zeros(bottom - top, right - left, dtype=torch.bool)
    seeing = {number for part in parts for number in part.tiles}
    for part in parts:
        own = part.crop.mask  # a copy
        window = Crop(own, part.crop.top, part.crop.left)
        for number in seeing - part.tiles:
            window.within(*tiles[number].core)[:] = False  # a view of ``own``
        rows = slice(part.crop.top - top, part.crop.bottom - top)
        columns = slice(part.crop.left - left, part.crop.right - left)
        mask[rows, columns] |= own
    crop = PackedCrop(Crop(mask, top, left).trimmed())
    boxes = torch.tensor([part.box for part in parts])
    box = [*boxes[:, :2].amin(0).tolist(), *boxes[:, 2:].amax(0).tolist()]
    score = max(part.score for part in parts)
    return Detection(crop, box, score, parts[0].category, frozenset(seeing))


def _is_foreign_remnant(
    found: Detection, parts: Sequence[Detection], tiles: Sequence[Tile]
) -> bool:
    """Whether all tiles that see an object cut it, and it lies mostly in what others own, which see
    more of it and do not confirm it."""
    for part in parts:
        (number,) = part.tiles
        crop = part.crop
        if not tiles[number].is_cut((crop.top, crop.left, crop.bottom, crop.right)):
            return False
    crop = found.crop.unpacked()
    owned = sum(count(crop.within(*tiles[number].core)) for number in found.tiles)
    return 2 * owned < found.crop.area()


def _suppress_duplicates(ranked: Sequence[Detection]) -> list[Detection]:
    """Drop what another tile has found better; what one tile holds apart stays apart."""
    kept: list[Detection] = []
    boxes = np.array([found.crop.box() for found in ranked]).reshape(-1, 4)
    categories = np.array([found.category for found in ranked])
    is_kept = np.zeros(len(ranked), bool)
    for number, found in enumerate(ranked):
        near = is_kept[:number] & (categories[:number] == found.category)
        near &= (boxes[:number, :2] < boxes[number, 2:]).all(1)
        near &= (boxes[:number, 2:] > boxes[number, :2]).all(1)
        rivals = [ranked[place] for place in np.flatnonzero(near)]
        rivals = [rival for rival in rivals if not rival.tiles & found.tiles]
        crop = found.crop.unpacked() if rivals else None
        if not any(_is_duplicate(crop, rival.crop) for rival in rivals):
            kept.append(found)
            is_kept[number] = True
    return kept


def _is_duplicate(crop: Crop, other: PackedCrop) -> bool:
    shared = intersection(other.unpacked(), crop)
    return agree(shared, other.area(), crop.area(), DUPLICATE_IOU, DUPLICATE_IOS)
