"""Segments on large pictures, painted pixel by pixel.

Tracing a segment takes time and memory by the box around it, so that scattered classes, or stuff
around thousands of things, cost many times the picture. Here a label map is painted in one pass,
whatever the number of its segments, and masks one at a time. Places for labels are found on a
reduced picture, which is large enough for letters that are to be read in the whole.

H, W the image's size in pixels; colours are RGB in [0, 1].
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image, ImageDraw, ImageFont

from .id_codes import IdCodes
from .segments import Color, Segment

# Pixels of a drawing up to which segments are traced: contours are smooth, and seen
LARGEST_TRACED = 1 << 22
_REDUCED_SIDE = 1024  # about, of the picture on which labels find their places
_BAND = 1 << 18  # pixels that are painted at a time
_EDGE_SHARE = 0.6  # of white in a segment's outermost pixels
_TEXT_SHADE = 0.2  # of the picture below a label
_PADDING = 0.12  # around a label, in font heights


@dataclass(frozen=True)
class Text:
    """A label. place: (x, y) of the middle of its upper edge, or of its left end where
    ``is_left``. height: of the font, in pixels."""

    text: str
    place: tuple[float, float]
    color: Color
    height: float
    is_left: bool


def reduction(height: int, width: int) -> int:
    """Of how many pixels of a side one is kept where places for labels are looked for."""
    return max(1, max(height, width) // _REDUCED_SIDE)


def paint_map(canvas: np.ndarray, ids: np.ndarray, codes: IdCodes, colors: np.ndarray) -> None:
    """Blend the colours of a label map into a picture; edges between segments are white.

    Args:
        canvas: (H, W, 3) uint8, overwritten.
        ids: (H, W) integers.
        codes: of the ids: 1 .. N, 0 for those that stay bare.
        colors: (N + 1, 3) floats; the first one is not used.
    """
    height, width = ids.shape
    table = np.round(255 * colors).astype(np.uint16)
    for rows in _bands(height, width):
        above, below = int(rows.start > 0), int(rows.stop < height)
        band = codes.of(ids[rows.start - above : rows.stop + below])
        edge = _differs(band)[above : len(band) - below]
        band = band[above : len(band) - below]
        _blend(canvas[rows], band > 0, edge, table[band])


def paint_mask(canvas: np.ndarray, mask: np.ndarray, corner: tuple[int, int], color: Color) -> None:
    """Blend one colour into a picture where a mask is.

    Args:
        canvas: (H, W, 3) uint8, overwritten.
        mask: (h, w) bool, whose first pixel is ``corner`` (row, column) of the picture.
    """
    height, width = mask.shape
    if not mask.size:
        return
    tint = np.round(255 * np.array(color)).astype(np.uint16)
    top, left = corner
    for rows in _bands(height, width):
        above, below = int(rows.start > 0), int(rows.stop < height)
        band = mask[rows.start - above : rows.stop + below]
        sides = ((1 - above, 1 - below), (1, 1))  # beside the box is none of it
        edge = _differs(np.pad(band, sides))[1 : 1 + rows.stop - rows.start, 1:-1]
        target = canvas[top + rows.start : top + rows.stop, left : left + width]
        _blend(target, mask[rows], edge, tint)


def _bands(height: int, width: int) -> Iterator[slice]:
    step = max(1, _BAND // width)
    return (slice(start, min(start + step, height)) for start in range(0, height, step))


def _differs(codes: np.ndarray) -> np.ndarray:
    """(n, m) bool: where a neighbour above, below, left or right has another code."""
    differs = np.zeros(codes.shape, bool)
    down, across = codes[1:] != codes[:-1], codes[:, 1:] != codes[:, :-1]
    differs[1:] |= down
    differs[:-1] |= down
    differs[:, 1:] |= across
    differs[:, :-1] |= across
    return differs


def _blend(target: np.ndarray, inside: np.ndarray, edge: np.ndarray, tint: np.ndarray) -> None:
    """Half of the colour inside, and white on its edge. tint: (n, m, 3) or (3,) uint16."""
    mixed = ((target.astype(np.uint16) + tint + 1) // 2).astype(np.uint8)
    edge = edge & inside
    mixed[edge] = (_EDGE_SHARE * 255 + (1 - _EDGE_SHARE) * mixed[edge]).round()
    np.copyto(target, mixed, where=inside[..., None])


def write_texts(canvas: np.ndarray, texts: Sequence[Text]) -> None:
    """Write labels on a darkened ground, each in its place as far as it lies in the picture."""
    for text in texts:
        font = _font(max(1, round(text.height)))
        anchor = "la" if text.is_left else "ma"
        box = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox(text.place, text.text, font, anchor)
        padding = _PADDING * text.height
        left, top = (max(0, math.floor(side - padding)) for side in box[:2])
        right, bottom = (math.ceil(side + padding) for side in box[2:])
        part = canvas[top:bottom, left:right]
        if not part.size:
            continue
        ground = Image.fromarray((part * _TEXT_SHADE).astype(np.uint8))
        place = (text.place[0] - left, text.place[1] - top)
        fill = tuple(round(255 * channel) for channel in _bright(text.color))
        ImageDraw.Draw(ground).text(place, text.text, fill, font, anchor)
        part[:] = np.asarray(ground)


def _bright(color: Color) -> np.ndarray:
    """As detectron2's ``Visualizer`` brightens the colour of a text."""
    bright = np.maximum(to_rgb(color), 0.2)
    bright[bright.argmax()] = max(0.8, bright.max())
    return bright


@lru_cache(maxsize=64)
def _font(height: int) -> ImageFont.FreeTypeFont:
    """matplotlib's own font, as drawings of smaller pictures have it."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), height)


def reduced_segment(segment: Segment, step: int) -> Segment:
    """Every ``step``-th row and column of the picture that a segment lies in."""
    (top, left), mask = segment.corner, segment.mask
    few = np.ascontiguousarray(mask[-top % step :: step, -left % step :: step])
    corner = (-(-top // step), -(-left // step))
    return Segment(few, segment.color, segment.label, segment.category_id, segment.is_thing, corner)
