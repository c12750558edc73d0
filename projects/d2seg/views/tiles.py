"""Where tiles lie.

Tiles begin where the windows of the per-pixel sliding window do. A tile's core is what it owns: the
borders of cores lie in the middle of what neighbours share.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ..layers.resampling import window_offsets
from .settings import TileSettings

MAX_MASK_FACTOR = 2  # from the sides of the model's input to those of its masks
Rectangle = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True)
class Tile:
    """``area`` is what the model sees, ``core`` what it owns, of a picture of ``size``. What comes
    within ``margin`` pixels (down, across) of an edge touches it."""

    area: Rectangle
    core: Rectangle
    size: tuple[int, int]
    margin: tuple[int, int] = (0, 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the area."""
        return self.area[2] - self.area[0], self.area[3] - self.area[1]

    def resized(self, size: tuple[int, int]) -> "Tile":
        """The same tile of the picture in another size (H, W)."""
        if size == self.size:
            return self
        factors = [target / source for target, source in zip(size, self.size, strict=True)]
        area, core = (_resized(rectangle, factors) for rectangle in (self.area, self.core))
        # a box may end half a pixel of the model's input before the edge that cuts it
        down, across = (int(factor / 2) for factor in factors)
        return Tile(area, core, size, (down, across))

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
        down, across = self.margin
        return (
            (top <= self.area[0] + down and self.area[0] != 0)
            or (left <= self.area[1] + across and self.area[1] != 0)
            or (bottom >= self.area[2] - down and self.area[2] != self.size[0])
            or (right >= self.area[3] - across and self.area[3] != self.size[1])
        )


def mask_size(size: tuple[int, int], output_size: tuple[int, int]) -> tuple[int, int]:
    """The size (H, W) in which masks of tiles are made: that of the result, so that their edges are
    as fine as a whole picture's. But it is never smaller than the model's input, in which a small
    object is still there, nor more than MAX_MASK_FACTOR times as large.

    Args:
        size: of the model's input.
        output_size: of the result, to which masks are brought from there.
    """
    height, width = (
        min(max(target, own), MAX_MASK_FACTOR * own)
        for own, target in zip(size, output_size, strict=True)
    )
    return height, width


def _resized(rectangle: Rectangle, factors: list[float]) -> Rectangle:
    top, left, bottom, right = (
        round(side * factor) for side, factor in zip(rectangle, 2 * factors, strict=True)
    )
    return top, left, bottom, right


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
