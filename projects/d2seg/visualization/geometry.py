"""Contours of masks, and places for labels in them. Coordinates are (x, y) in pixels of the mask,
with the origin at its top left corner."""

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.path import Path as Outline

_MAX_VERTICES = 100_000  # of a path: the renderer's memory is bounded
Rectangle = tuple[float, float, float, float]  # x0, y0, x1, y1


def outlines(
    mask: np.ndarray,
    factor: int,
    corner: tuple[int, int] = (0, 0),
    size: tuple[int, int] | None = None,
) -> list[Outline]:
    """Contours and holes of a bool mask, traced on a grid ``factor`` times finer so that they are
    smooth. One path, or several where it would be long; none where there is nothing to trace.

    Args:
        mask: the part of the picture that holds it
        corner: (row, column) of the part in the picture
        size: (height, width) of the picture; None: the mask is all of it
    """
    if not mask.size:
        return []
    (top, left), (height, width) = corner, size or mask.shape
    # a row and a column more where the picture goes on, for the interpolation
    above, before = int(top > 0), int(left > 0)
    below, behind = int(top + mask.shape[0] < height), int(left + mask.shape[1] < width)
    mask = np.pad(mask, ((above, below), (before, behind)))
    height, width = mask.shape
    fine = cv2.resize(
        mask.astype(np.float32), (width * factor, height * factor), interpolation=cv2.INTER_LINEAR
    )
    # holes run the other way round than contours, so that filling leaves them open
    contours, tree = cv2.findContours(
        (fine >= 0.5).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    paths, vertices, codes = [], [], []
    for number, contour in enumerate(contours):
        is_hole = tree[0, number, 3] >= 0  # which stays with what it is in
        if len(codes) > _MAX_VERTICES and not is_hole:
            paths.append(Outline(np.concatenate(vertices), codes))
            vertices, codes = [], []
        points = (contour[:, 0] + 0.5) / factor + (left - before, top - above)
        vertices += [points, points[:1]]
        codes += [Outline.MOVETO, *[Outline.LINETO] * (len(points) - 1), Outline.CLOSEPOLY]
    return [*paths, Outline(np.concatenate(vertices), codes)] if vertices else paths


def widest_place(
    mask: np.ndarray,
    width: float,
    height: float,
    taken: Sequence[Rectangle],
    corner: tuple[int, int] = (0, 0),
    size: tuple[int, int] | None = None,
) -> tuple[float, float] | None:
    """Centre for a rectangle of that size: the pixel of the mask farthest from the mask's border,
    among those where the rectangle stays in the image and clear of ``taken``; None if there is
    none.

    Args:
        mask, corner, size: as of :func:`outlines`
        taken: rectangles in the picture
    """
    depth = cv2.distanceTransform(
        np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )[1:-1, 1:-1]
    rows, columns = size or mask.shape
    (top, left), (h, w) = corner, mask.shape
    x, y = np.arange(left, left + w) + 0.5, np.arange(top, top + h) + 0.5
    free = _inside(y, height / 2, rows)[:, None] & _inside(x, width / 2, columns)[None]
    for x0, y0, x1, y1 in _near(taken, (x[0], y[0], x[-1], y[-1]), width / 2, height / 2):
        beside = (x < x0 - width / 2) | (x > x1 + width / 2)
        above_or_below = (y < y0 - height / 2) | (y > y1 + height / 2)
        free &= beside[None] | above_or_below[:, None]
    # rounded: how OpenCV rounds depends on the memory's alignment, and many pixels are as deep
    depth = depth.round(3) * free
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return (left + column + 0.5, top + row + 0.5) if depth[row, column] > 0 else None


def _near(
    taken: Sequence[Rectangle], place: Rectangle, half_width: float, half_height: float
) -> list[Rectangle]:
    """Those that a rectangle with its centre in ``place`` may touch."""
    if not taken:
        return []
    x0, y0, x1, y1 = np.array(taken).T
    left, top, right, bottom = place
    is_near = (x0 - half_width <= right) & (x1 + half_width >= left)
    is_near &= (y0 - half_height <= bottom) & (y1 + half_height >= top)
    return [taken[i] for i in np.flatnonzero(is_near)]


def _inside(centers: np.ndarray, half: float, size: int) -> np.ndarray:
    """Where an interval of ``half`` to both sides fits in [0, size]; the middle if nowhere."""
    if 2 * half >= size:
        return np.abs(centers - size / 2) <= 0.5
    return (centers >= half) & (centers <= size - half)
