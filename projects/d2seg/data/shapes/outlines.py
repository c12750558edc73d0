"""Outlines of the eight thing classes, and their anti-aliased rasterisation.

An outline is a list of closed contours (N, 2), x right and y down, in units in which the largest
half extent is 1. A contour inside another one is a hole (even-odd rule).
"""

from collections.abc import Callable

import cv2
import numpy as np

_SUPERSAMPLING = 4
_SUBPIXEL_BITS = 4

Outline = list[np.ndarray]


def _arc(start: float, stop: float, radius: float = 1.0, num_points: int = 72) -> np.ndarray:
    angles = np.linspace(start, stop, num_points, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _round_corners(corners: np.ndarray, ratio: float) -> np.ndarray:
    """Cut every corner three times (Chaikin 1974); ``ratio`` of an edge goes at the first cut."""
    for cut in (ratio, 0.25, 0.25):
        following = np.roll(corners, -1, axis=0)
        near = (1 - cut) * corners + cut * following
        far = cut * corners + (1 - cut) * following
        corners = np.stack([near, far], axis=1).reshape(-1, 2)
    return corners


def _circle(rng: np.random.RandomState) -> Outline:
    return [_arc(0, 2 * np.pi)]


def _square(rng: np.random.RandomState) -> Outline:
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    return [_round_corners(corners, rng.uniform(0.02, 0.12))]


def _triangle(rng: np.random.RandomState) -> Outline:
    height = rng.uniform(0.8, 1.15)
    corners = np.array([[0.0, -height], [1.0, 0.87 * height], [-1.0, 0.87 * height]])
    return [_round_corners(corners, rng.uniform(0.02, 0.1))]


def _star(rng: np.random.RandomState) -> Outline:
    inner = rng.uniform(0.42, 0.52)
    radii = np.where(np.arange(10) % 2, inner, 1.0)
    corners = _arc(-np.pi / 2, 1.5 * np.pi, num_points=10) * radii[:, None]
    return [_round_corners(corners, rng.uniform(0.02, 0.1))]


def _ring(rng: np.random.RandomState) -> Outline:
    return [_arc(0, 2 * np.pi), _arc(0, 2 * np.pi, rng.uniform(0.48, 0.64))]


def _cross(rng: np.random.RandomState) -> Outline:
    w = rng.uniform(0.28, 0.4)
    arm = np.array([[-w, -w], [-w, -1.0], [w, -1.0]])
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])  # a turn by 90 degrees
    corners = [arm]
    for _ in range(3):
        corners.append(corners[-1] @ quarter)
    return [_round_corners(np.concatenate(corners), rng.uniform(0.02, 0.12))]


def _heart(rng: np.random.RandomState) -> Outline:
    t = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return [np.stack([16 * np.sin(t) ** 3, -(y + 2.5)], axis=1) / 16]


def _moon(rng: np.random.RandomState) -> Outline:
    # The unit disk less another one around (offset, 0), through the two tips of the crescent.
    tip = rng.uniform(0.8, 1.15)  # angle of a tip, seen from the centre
    offset = rng.uniform(0.42, 0.6)
    tip_x, tip_y = np.cos(tip), np.sin(tip)
    inner_radius = np.hypot(tip_x - offset, tip_y)
    inner_tip = np.arctan2(tip_y, tip_x - offset)
    outer = _arc(tip, 2 * np.pi - tip)
    inner = _arc(2 * np.pi - inner_tip, inner_tip, inner_radius) + np.array([offset, 0.0])
    return [np.concatenate([outer, inner])]


_OUTLINES: dict[str, tuple[Callable[[np.random.RandomState], Outline], float]] = {
    # With the largest rotation either way, in degrees: small enough that a small model can learn
    # the forms in a few minutes.
    "circle": (_circle, 0.0),
    "square": (_square, 12.0),
    "triangle": (_triangle, 15.0),
    "star": (_star, 15.0),
    "ring": (_ring, 0.0),
    "cross": (_cross, 12.0),
    "heart": (_heart, 15.0),
    "moon": (_moon, 20.0),
}


def draw_outline(name: str, rng: np.random.RandomState) -> Outline:
    """Return a randomly varied and turned outline of class ``name``, centred on its box."""
    make, max_angle = _OUTLINES[name]
    angle = np.deg2rad(rng.uniform(-max_angle, max_angle))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    outline = [contour @ turn for contour in make(rng)]
    points = np.concatenate(outline)
    low, high = points.min(axis=0), points.max(axis=0)
    half_extent = (high - low).max() / 2
    return [(contour - (low + high) / 2) / half_extent for contour in outline]


def rasterize(
    outline: Outline, center: tuple[float, float], size: float
) -> tuple[np.ndarray, tuple[int, int]]:
    """Coverage of pixels by an outline.

    Args:
        outline: as of this module
        center: (x, y) of the outline's origin in pixels; pixel (0, 0) covers 0..1
        size: pixels from one end of the largest extent to the other

    Returns:
        float32 (h, w) in 0..1 and the pixel (x, y) of its top left corner, which may be negative.
        The outermost pixels all around are empty.
    """
    points = [contour * (size / 2) + center for contour in outline]
    low = np.floor(np.min([p.min(axis=0) for p in points], axis=0)).astype(int) - 1
    width, height = np.ceil(np.max([p.max(axis=0) for p in points], axis=0)).astype(int) + 1 - low
    factor = _SUPERSAMPLING
    fine = np.zeros((height * factor, width * factor), np.uint8)
    # cv2 counts from the centre of pixel (0, 0)
    contours = [
        np.rint(((p - low) * factor - 0.5) * 2**_SUBPIXEL_BITS).astype(np.int32) for p in points
    ]
    cv2.fillPoly(fine, contours, 255, lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
    coverage = cv2.resize(fine, (int(width), int(height)), interpolation=cv2.INTER_AREA)
    return coverage.astype(np.float32) / 255, (int(low[0]), int(low[1]))
