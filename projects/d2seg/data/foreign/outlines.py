"""Outlines as other tools write them, made into masks.

A pixel belongs to an outline where its centre lies inside (even-odd rule) or on it: outlines that
run through the centres of border pixels, as those traced from masks do, give the mask again. The
centre of pixel (0, 0) is at (0.5, 0.5).

Shapes: H, W of the picture.
"""

import math
from typing import Any

import numpy as np

from ..id_runs import rle_of_part
from ..masks import draw_polygons
from ..segmentations import Segmentation, sound_polygons

_NEAR = 0.02  # pixels: how exactly a file says a coordinate
_MIN_POLYGON_IOU = 0.99  # of pycocotools' mask of an outline, from which on it stays a polygon
_REACH = 1  # times its picture's size that an outline may reach beyond it
_FAR = 1e9
_NUM_CORNERS = 128  # of an ellipse


def points_of(values: Any, what: str = "points") -> np.ndarray:
    """(N, 2) of a list of pairs.

    Raises:
        ValueError: it is none, or of fewer than 3 points or other than finite numbers.
    """
    is_list = isinstance(values, list) and all(
        isinstance(p, list | tuple) and len(p) == 2 and {int, float}.issuperset(map(type, p))
        for p in values
    )
    if not is_list:
        raise ValueError(f"'{what}' is no list of [x, y]")
    if not all(-_FAR < v < _FAR for p in values for v in p):  # so that NaN is wrong, too
        raise ValueError(f"'{what}' has a number that is not finite, or beyond {_FAR:g}")
    if len(values) < 3:
        raise ValueError(f"'{what}' has {len(values)} points; an outline has at least 3")
    return np.array(values, np.float64)


def segmentation_of(
    outline: np.ndarray, size: tuple[int, int], holes: tuple[np.ndarray, ...] = ()
) -> Segmentation:
    """A polygon where pycocotools draws the same mask, else an RLE.

    Args:
        outline: (N, 2) x, y; parts and holes may be joined to it by lines there and back
        size: (H, W)
        holes: (M, 2) each, whose pixels do not belong to the object

    Raises:
        ValueError: it lies far outside of the picture, is endless, or holds no pixel.
    """
    polygons = [ring.ravel().tolist() for ring in (outline, *holes)]
    sound_polygons(polygons, size, _REACH)
    mask, corner = _inside(outline, size)
    for hole in holes:
        _erase(mask, corner, *_inside(hole, size))
    if not mask.any():
        raise ValueError("it holds no pixel of its picture")
    if not holes and _is_drawn_alike(outline, mask, corner):
        return polygons
    return rle_of_part(mask, corner, size)


def placed(mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> Segmentation:
    """The RLE of a mask, bool (h, w), that has its first pixel at ``corner`` (x, y).

    Raises:
        ValueError: it reaches beyond its picture, or is empty.
    """
    x, y = corner
    height, width = mask.shape
    if x < 0 or y < 0 or x + width > size[1] or y + height > size[0]:
        raise ValueError(
            f"its mask, {width}x{height} from ({x}, {y}) on, reaches beyond its picture of "
            f"{size[1]}x{size[0]} (width x height)"
        )
    if not mask.any():
        raise ValueError("its mask is empty")
    return rle_of_part(mask, corner, size)


def ellipse(center: tuple[float, float], radii: tuple[float, float], degrees: float) -> np.ndarray:
    """(N, 2) corners around an ellipse that is turned clockwise."""
    angles = np.linspace(0, 2 * math.pi, _NUM_CORNERS, endpoint=False)
    x, y = radii[0] * np.cos(angles), radii[1] * np.sin(angles)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.stack([center[0] + x * cos - y * sin, center[1] + x * sin + y * cos], axis=1)


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def _inside(outline: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, int]]:
    """The pixels of an outline: bool (h, w) of its own part of the picture, and (x, y) of that."""
    last = np.array(size[::-1])
    start = np.clip(np.floor(outline.min(axis=0) - 1), 0, last).astype(int)
    end = np.clip(np.ceil(outline.max(axis=0) + 1), start, last).astype(int)
    width, height = (end - start).tolist()
    corner = (int(start[0]), int(start[1]))
    if not width or not height:
        return np.zeros((height, width), bool), corner
    edges = _without_bridges(outline - start)
    rows, lefts, rights = (
        np.concatenate(parts)
        for parts in zip(_crossed(edges, height), _touched(edges), strict=True)
    )
    first = np.clip(np.ceil(lefts - 0.5 - _NEAR), 0, width).astype(int)
    behind = np.clip(np.floor(rights - 0.5 + _NEAR) + 1, 0, width).astype(int)
    keep = (first < behind) & (rows >= 0) & (rows < height)
    changes = np.zeros((height, width + 1), np.int32)
    np.add.at(changes, (rows[keep], first[keep]), 1)
    np.add.at(changes, (rows[keep], behind[keep]), -1)
    return np.cumsum(changes, axis=1)[:, :width] > 0, corner


def _without_bridges(points: np.ndarray) -> np.ndarray:
    """(E, 2, 2) edges from point to point, without those that are gone there and back."""
    edges = np.stack([points, np.roll(points, -1, axis=0)], axis=1)
    is_turned = (edges[:, 0, 0] > edges[:, 1, 0]) | (
        (edges[:, 0, 0] == edges[:, 1, 0]) & (edges[:, 0, 1] > edges[:, 1, 1])
    )
    ends = np.where(is_turned[:, None, None], edges[:, ::-1], edges).reshape(-1, 4)
    _, first, times = np.unique(ends, axis=0, return_index=True, return_counts=True)
    once = first[times % 2 == 1]
    return edges[once] if len(once) else edges  # of nothing but a line, the line


def _crossed(edges: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, and x from where to where their middles lie inside of the edges."""
    (x0, y0), (x1, y1) = edges[:, 0].T, edges[:, 1].T
    first, behind = (
        np.clip(np.ceil(end - 0.5), 0, height).astype(int)
        for end in (np.minimum(y0, y1), np.maximum(y0, y1))
    )
    counts = np.maximum(behind - first, 0)
    edge = np.repeat(np.arange(len(edges)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (x1 - x0)[edge] / np.where(y1 == y0, 1, y1 - y0)[edge]
    xs = x0[edge] + (rows + 0.5 - y0[edge]) * slope
    order = np.lexsort((xs, rows))
    rows, xs = rows[order], xs[order]
    return rows[0::2], xs[0::2], xs[1::2]


def _touched(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, and x from where to where an edge runs along their middles; a corner alone, too."""
    y0, y1 = edges[:, 0, 1], edges[:, 1, 1]
    rows = np.rint(edges[..., 1] - 0.5)
    is_middle = np.abs(edges[..., 1] - 0.5 - rows) <= _NEAR  # (E, 2)
    along = is_middle.all(axis=1) & (np.abs(y0 - y1) <= 2 * _NEAR)
    lefts, rights = edges[along, :, 0].min(axis=1), edges[along, :, 0].max(axis=1)
    alone = edges[:, 0][is_middle[:, 0]]
    return (
        np.concatenate([rows[along, 0], np.rint(alone[:, 1] - 0.5)]).astype(int),
        np.concatenate([lefts, alone[:, 0]]),
        np.concatenate([rights, alone[:, 0]]),
    )


def _erase(
    mask: np.ndarray, corner: tuple[int, int], hole: np.ndarray, start: tuple[int, int]
) -> None:
    """Take the pixels of ``hole``, whose first is at ``start``, out of ``mask``, in place."""
    x, y = (b - a for a, b in zip(corner, start, strict=True))
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + hole.shape[0], mask.shape[0]), min(x + hole.shape[1], mask.shape[1])
    if top < bottom and left < right:
        mask[top:bottom, left:right] &= ~hole[top - y : bottom - y, left - x : right - x]


def _is_drawn_alike(outline: np.ndarray, mask: np.ndarray, corner: tuple[int, int]) -> bool:
    drawn = np.zeros_like(mask)
    draw_polygons([np.trunc(5 * outline + 0.5) / 5 - corner], drawn)
    return np.sum(drawn & mask) >= _MIN_POLYGON_IOU * np.sum(drawn | mask)
