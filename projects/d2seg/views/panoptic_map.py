"""Panoptic results of tiles as one of the picture: things that a seam cuts are joined, stuff is
merged by class, each pixel has one owner.

(H, W) the picture, (h, w) a tile.
"""

from typing import Any

import torch
from torch import Tensor

from .joining import JOINED_IOS, JOINED_IOU, UnionFind, agree, one_to_one
from .tiles import Tile

Info = dict[str, Any]


class PanopticMap:
    """Takes tiles row by row; of their maps, those are kept that later tiles share pixels with."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._ids = torch.zeros(size, dtype=torch.int32)  # of ``_infos``, from 1 on
        self._infos: list[Info] = [{}]
        self._groups = UnionFind(1)
        self._first_of_stuff: dict[int, int] = {}
        self._recent: list[tuple[Tile, Tensor]] = []

    def add(self, tile: Tile, ids: Tensor, segments: list[Info]) -> None:
        """
        Args:
            ids: (h, w) integers. segments: detectron2's ``segments_info`` of them; ids that are not
                among these own nothing.
        """
        table = torch.zeros(int(ids.max()) + 1 if ids.numel() else 1, dtype=torch.int32)
        for segment in segments:
            if 0 < segment["id"] < len(table):
                table[segment["id"]] = self._new(segment)
        own = table[ids.cpu().clamp(min=0).long()]
        top = tile.area[0]
        self._recent = [(other, seen) for other, seen in self._recent if other.area[2] > top]
        for other, seen in self._recent:
            if other.shares_with(tile):
                self._join(other, seen, tile, own)
        self._recent.append((tile, own))
        self._paint(tile, own)

    def _new(self, segment: Info) -> int:
        number = self._groups.add()
        self._infos.append(segment)
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
            self._groups.join(a, b)

    def _is_same_thing(self, first: int, second: int) -> bool:
        one, other = self._infos[first], self._infos[second]
        return bool(one["isthing"] and other["isthing"]) and (
            one["category_id"] == other["category_id"]
        )

    def _paint(self, tile: Tile, own: Tensor) -> None:
        """The core is the tile's; beyond it, it fills what the owners leave free, but for what lies
        mostly there, of which others see more."""
        number = len(self._infos)
        core = _cut(own, tile, tile.core)
        in_core = torch.bincount(core.flatten(), minlength=number)
        in_all = torch.bincount(own.flatten(), minlength=number)
        filling = own * (2 * in_core >= in_all)[own.long()]
        top, left, bottom, right = tile.area
        area = self._ids[top:bottom, left:right]
        area.copy_(torch.where(area == 0, filling, area))
        top, left, bottom, right = tile.core
        owned = self._ids[top:bottom, left:right]
        owned.copy_(torch.where(core != 0, core, owned))

    def result(self) -> tuple[Tensor, list[Info]]:
        """(H, W) int32, 0 where no segment is, and the segments, with ids from 1 on. A thing that
        was joined has the best score of its parts, stuff the mean of its tiles'."""
        present = torch.zeros(len(self._infos), dtype=torch.bool)
        for row in self._ids.split(256):  # the indices are eight bytes each
            present[row.flatten().long()] = True
        parts: dict[int, list[int]] = {}
        for number in present.nonzero()[:, 0].tolist():
            if number:
                parts.setdefault(self._groups.root(number), []).append(number)
        table = torch.zeros(len(self._infos), dtype=torch.int32)
        segments = []
        for new, numbers in enumerate(parts.values(), start=1):
            table[numbers] = new
            segments.append(_merged([self._infos[number] for number in numbers], new))
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


def _cut(ids: Tensor, tile: Tile, rectangle: tuple[int, int, int, int]) -> Tensor:
    top, left, bottom, right = rectangle
    down, across = tile.area[:2]
    return ids[top - down : bottom - down, left - across : right - across]
