"""Where tiles lie.

Tiles begin where the windows of the per-pixel sliding window do. A tile's core is what it owns: the
borders of cores lie in the middle of what neighbours share.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..layers.resampling import window_offsets
from .settings import TileSettings

Rectangle = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True)
class Tile:
    """``area`` is what the model sees, ``core`` what it owns, of a picture of ``size``."""

    area: Rectangle
    core: Rectangle
    size: tuple[int, int]

    def shares_with(self, other: "Tile") -> bool:
        return _overlap(self.area, other.area)

    def shows(self, rectangle: Rectangle) -> bool:
        """Whether a rectangle lies within, and no edge of the tile cuts what it holds."""
        top, left, bottom, right = rectangle
        is_within = top >= self.area[0] and left >= self.area[1]
        is_within = is_within and bottom <= self.area[2] and right <= self.area[3]
        return is_within and not self.is_cut(rectangle)

    def is_cut(self, rectangle: Rectangle) -> bool:
        """Whether a rectangle within touches an edge of the tile that is none of the picture."""
        top, left, bottom, right = rectangle
        return (
            (top == self.area[0] != 0)
            or (left == self.area[1] != 0)
            or (bottom == self.area[2] != self.size[0])
            or (right == self.area[3] != self.size[1])
        )


def _overlap(first: Rectangle, second: Rectangle) -> bool:
    tops, lefts = max(first[0], second[0]), max(first[1], second[1])
    return tops < min(first[2], second[2]) and lefts < min(first[3], second[3])


def tiles_of(size: tuple[int, int], settings: TileSettings) -> Iterator[Tile]:
    """Row by row."""
    stride = settings.size - settings.overlap
    rows, columns = (list(_spans(side, settings.size, stride)) for side in size)
    for (top, bottom), (core_top, core_bottom) in rows:
        for (left, right), (core_left, core_right) in columns:
            core = (core_top, core_left, core_bottom, core_right)
            yield Tile((top, left, bottom, right), core, size)


def _spans(side: int, tile: int, stride: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    offsets = window_offsets(side, tile, stride)
    ends = [min(offset + tile, side) for offset in offsets]
    borders = [(end + start) // 2 for end, start in zip(ends, offsets[1:], strict=False)]
    yield from zip(
        zip(offsets, ends, strict=True),
        zip([0, *borders], [*borders, side], strict=True),
        strict=True,
    )
