"""Overlap and surface distance of two binary volumes as MedPy defines them
(``medpy.metric.binary``), with which TransUNet and its kin are scored.

Masks have any number of dimensions, both the same shape.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import KDTree


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """2 |P and T| / (|P| + |T|); NaN if both are empty."""
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(prediction & truth) / total if total else float("nan")


def hd95(prediction: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> float:
    """95th percentile of the distances from each surface voxel to the other surface, of both
    directions together; NaN if either mask is empty.

    A surface voxel is one of the mask with a neighbour outside along an axis; the border of the
    volume counts as outside. The percentile is interpolated linearly.

    Args:
        spacing: distance of neighbouring voxels along each axis.
    """
    if not prediction.any() or not truth.any():
        return float("nan")
    # what lies outside of the box around both is outside of both, and on no surface
    box = _bounding_box(prediction | truth)
    # counted from 1: scipy's tree splits at 0 by the next larger number, and where training flushes
    # such small ones to 0 it would split there without end
    surfaces = [(1 + _surface(mask[box])) * np.asarray(spacing) for mask in (prediction, truth)]
    # a search tree of the surface voxels, which are few, and no distance map of the whole box
    distances = [KDTree(surface).query(other)[0] for surface, other in (surfaces, surfaces[::-1])]
    return float(np.percentile(np.concatenate(distances), 95))


def _surface(mask: np.ndarray) -> np.ndarray:
    """Indices (n, d)."""
    return np.argwhere(mask & ~ndimage.binary_erosion(mask))  # which connects along the axes


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    return box
