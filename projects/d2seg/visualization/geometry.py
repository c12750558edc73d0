"""Contours of masks, and places for labels in them. Coordinates are (x, y) in pixels of the mask,
with the origin at its top left corner."""

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.path import Path as Outline

Rectangle = tuple[float, float, float, float]  # x0, y0, x1, y1


def outline(mask: np.ndarray, factor: int) -> Outline | None:
    """Contours and holes of a bool mask, traced on a grid ``factor`` times finer so that they are
    smooth; None where there is nothing to trace."""
    height, width = mask.shape
    fine = cv2.resize(
        mask.astype(np.float32), (width * factor, height * factor), interpolation=cv2.INTER_LINEAR
    )
    # holes run the other way round than contours, so that filling leaves them open
    contours, _ = cv2.findContours(
        (fine >= 0.5).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    vertices, codes = [], []
    for contour in contours:
        points = (contour[:, 0] + 0.5) / factor
        vertices += [points, points[:1]]
        codes += [Outline.MOVETO, *[Outline.LINETO] * (len(points) - 1), Outline.CLOSEPOLY]
    return Outline(np.concatenate(vertices), codes) if vertices else None


def widest_place(
    mask: np.ndarray, width: float, height: float, taken: Sequence[Rectangle]
) -> tuple[float, float] | None:
    """Centre for a rectangle of that size: the pixel of the mask farthest from the mask's border,
    among those where the rectangle stays in the image and clear of ``taken``; None if there is
    none."""
    depth = cv2.distanceTransform(
        np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )[1:-1, 1:-1]
    rows, columns = mask.shape
    x, y = np.arange(columns) + 0.5, np.arange(rows) + 0.5
    free = _inside(y, height / 2, rows)[:, None] & _inside(x, width / 2, columns)[None]
    for x0, y0, x1, y1 in taken:
        beside = (x < x0 - width / 2) | (x > x1 + width / 2)
        above_or_below = (y < y0 - height / 2) | (y > y1 + height / 2)
        free &= beside[None] | above_or_below[:, None]
    depth = depth * free
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return (column + 0.5, row + 0.5) if depth[row, column] > 0 else None


def _inside(centers: np.ndarray, half: float, size: int) -> np.ndarray:
    """Where an interval of ``half`` to both sides fits in [0, size]; the middle if nowhere."""
    if 2 * half >= size:
        return np.abs(centers - size / 2) <= 0.5
    return (centers >= half) & (centers <= size - half)
