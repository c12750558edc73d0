"""Panoptic results of tiles as one of the picture: things that a seam cuts are joined, stuff is
merged by class, each pixel has one owner.

The owner of a thing is the tile in whose core most of it lies. What an owner sees whole is painted
as a whole, over what others make of their part of it, and no two of such things are joined; what
others make of something that its owner sees whole is left out. The rest is the pixels' core's.

(H, W) the picture, (h, w) a tile.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .joining import JOINED_IOS, JOINED_IOU, UnionFind, agree, one_to_one, owner_of
from .mask_crops import Crop
from .tiles import Rectangle, Tile

Info = dict[str, Any]
# Ranks of a tile's claims to a pixel, in the low bits of the map.
_FILLING, _CORE, _WHOLE = 1, 2, 3
_RANK_BITS = 2
_KEPT_SHARE = 0.5  # of what a thing has in cores: with less it is a remnant of what lies over it


class PanopticMap:
    """Takes tiles row by row; of their maps, those are kept that later tiles share pixels with."""

    def __init__(self, size: tuple[int, int], tiles: Sequence[Tile]) -> None:
        """``tiles``: all of the picture, in the order in which they are added."""
        # numbers of ``_infos``, from 1 on, above the rank of what painted the pixel
        self._ids = torch.zeros(size, dtype=torch.int32)
        self._infos: list[Info] = [{}]
        self._in_cores: list[int] = [0]  # pixels of each that lie in its tile's core
        self._tiles = tiles
        self._num_added = 0
        self._groups = UnionFind(1)
        self._is_whole = [False]  # of each: whether its owner has found it, and sees it whole
        self._holds_whole = [False]  # of each root: whether one of the group is so
        self._first_of_stuff: dict[int, int] = {}
        self._recent: list[tuple[Tile, Tensor]] = []

    def add(self, tile: Tile, ids: Tensor, segments: list[Info]) -> None:
        """
        Args:
            ids: (h, w) integers. segments: detectron2's ``segments_info`` of them; ids that are not
                among these own nothing.
        """
        table = torch.zeros(int(ids.max()) + 1 if ids.numel() else 1, dtype=torch.int32)
        ids = ids.cpu().clamp(min=0)
        for segment in segments:
            if 0 < segment["id"] < len(table):
                is_thing = bool(segment["isthing"])  # some models give numbers
                is_whole = is_thing and self._is_owned(ids == segment["id"], tile)
                if is_whole is not None:
                    table[segment["id"]] = self._new(segment, is_whole)
        own = table[ids.long()]
        top = tile.area[0]
        self._recent = [(other, seen) for other, seen in self._recent if other.area[2] > top]
        for other, seen in self._recent:
            if other.shares_with(tile):
                self._join(other, seen, tile, own)
        self._recent.append((tile, own))
        self._paint(tile, own)
        self._num_added += 1

    def _is_owned(self, mask: Tensor, tile: Tile) -> bool | None:
        """Whether a thing's owner is this tile, and sees it whole; None if another does."""
        crop = Crop(mask, 0, 0).trimmed()
        if not crop.mask.numel():
            return False
        crop = crop.moved(*tile.area[:2])
        owner = owner_of(crop, self._num_added, self._tiles)
        if not self._tiles[owner].shows((crop.top, crop.left, crop.bottom, crop.right)):
            return False
        return True if owner == self._num_added else None

    def _new(self, segment: Info, is_whole: bool) -> int:
        number = self._groups.add()
        self._infos.append(segment)
        self._in_cores.append(0)
        self._is_whole.append(is_whole)
        self._holds_whole.append(is_whole)
        if not segment["isthing"]:
            first = self._first_of_stuff.setdefault(segment["category_id"], number)
            self._groups.join(first, number)
        return number

    def _join(self, first: Tile, seen: Tensor, second: Tile, own: Tensor) -> None:
        seam = (
            *(max(first.area[side], second.area[side]) for side in (0, 1)),
            *(min(first.area[side], second.area[side]) for side in (2, 3)),
        )
        one, other = (_cut(ids, tile, seam) for ids, tile in ((seen, first), (own, second)))
        areas = [
            dict(zip(*(x.tolist() for x in ids.unique(return_counts=True)), strict=True))
            for ids in (one, other)
        ]
        codes, counts = (one.long() << 32 | other.long()).unique(return_counts=True)
        pairs = []
        for code, shared in zip(codes.tolist(), counts.tolist(), strict=True):
            a, b = code >> 32, code & 0xFFFFFFFF
            if not a or not b or not self._is_same_thing(a, b):
                continue
            if agree(shared, areas[0][a], areas[1][b], JOINED_IOU, JOINED_IOS):
                pairs.append((float(shared), a, b))
        for a, b in one_to_one(pairs):
            roots = {self._groups.root(a), self._groups.root(b)}
            num_whole = sum(self._holds_whole[root] for root in roots)
            if num_whole <= 1:
                self._groups.join(a, b)
                self._holds_whole[self._groups.root(a)] = num_whole == 1

    def _is_same_thing(self, first: int, second: int) -> bool:
        one, other = self._infos[first], self._infos[second]
        return bool(one["isthing"] and other["isthing"]) and (
            one["category_id"] == other["category_id"]
        )

    def _paint(self, tile: Tile, own: Tensor) -> None:
        """What lies mostly in other cores and is cut there, others see better: it fills nothing."""
        numbers, places = own.unique(return_inverse=True)
        core = _cut(places, tile, tile.core)
        in_core = torch.bincount(core.flatten(), minlength=len(numbers))
        in_all = torch.bincount(places.flatten(), minlength=len(numbers))
        for number, count in zip(numbers.tolist(), in_core.tolist(), strict=True):
            self._in_cores[number] = count
        # of each segment, the rank in the core and beyond it
        is_whole = torch.tensor([self._is_whole[number] for number in numbers.tolist()])
        inner = torch.where(is_whole, _WHOLE, _CORE).int()
        outer = torch.where(is_whole, _WHOLE, torch.where(2 * in_core >= in_all, _FILLING, 0)).int()
        inner[numbers == 0] = outer[numbers == 0] = 0
        rank = outer[places]
        _cut(rank, tile, tile.core).copy_(inner[core])
        top, left, bottom, right = tile.area
        area = self._ids[top:bottom, left:right]
        before = area & ((1 << _RANK_BITS) - 1)
        is_painted = rank > before
        inside = _cut(is_painted, tile, tile.core)
        inside |= (_cut(rank, tile, tile.core) == _cut(before, tile, tile.core)) & (inner[core] > 0)
        area.copy_(torch.where(is_painted, own << _RANK_BITS | rank, area))

    def result(self) -> tuple[Tensor, list[Info]]:
        """(H, W) int32, 0 where no segment is, and the segments, with ids from 1 on. A thing that
        was joined has the best score of its parts, stuff the mean of its tiles'."""
        painted = torch.zeros(len(self._infos), dtype=torch.int64)
        for row in self._ids.split(256):  # the indices are eight bytes each
            row >>= _RANK_BITS
            painted += torch.bincount(row.flatten(), minlength=len(painted))
        parts: dict[int, list[int]] = {}
        for number in painted.nonzero()[:, 0].tolist():
            if number:
                parts.setdefault(self._groups.root(number), []).append(number)
        table = torch.zeros(len(self._infos), dtype=torch.int32)
        segments: list[Info] = []
        for numbers in parts.values():
            if self._infos[numbers[0]]["isthing"] and int(painted[numbers].sum()) < (
                _KEPT_SHARE * sum(self._in_cores[number] for number in numbers)
            ):
                continue
            table[numbers] = len(segments) + 1
            segments.append(_merged([self._infos[n] for n in numbers], len(segments) + 1))
        for row in self._ids.split(256):
            row.copy_(table[row.long()])
        return self._ids, segments


def _merged(infos: list[Info], number: int) -> Info:
    first = infos[0]
    merged = {
        "id": number,
        "isthing": first["isthing"],
        "category_id": first["category_id"],
    }
    scores = [info["score"] for info in infos if "score" in info]
    if scores:
        merged["score"] = max(scores) if first["isthing"] else sum(scores) / len(scores)
    return merged


def _cut(ids: Tensor, tile: Tile, rectangle: Rectangle) -> Tensor:
    top, left, bottom, right = rectangle
    down, across = tile.area[:2]
    return ids[top - down : bottom - down, left - across : right - across]
