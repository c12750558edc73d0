"""A mask as one polygon, for formats that have nothing else.

Parts and holes are joined to the outline by bridges of no width, so that filling the polygon by the
even-odd rule gives the mask again.
"""

import cv2
import numpy as np


def polygon_of(mask: np.ndarray) -> np.ndarray:
    """
    Args:
        mask: (H, W) uint8, 0 and 1.

    Returns:
        (N, 2) float: x, y of the centres of border pixels, where pixel (0, 0) has its centre at
        (0.5, 0.5). N is 0 for an empty mask.
    """
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return np.zeros((0, 2))
    rings = sorted((contour[:, 0, :].astype(float) for contour in contours), key=len, reverse=True)
    joined = rings[0]
    for ring in rings[1:]:
        joined = _join(joined, ring)
    return joined + 0.5


def _join(outline: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Go along the outline to its point next to the ring's first, around the ring, and back."""
    place = int(np.square(outline - ring[0]).sum(1).argmin())
    return np.concatenate(
        [outline[: place + 1], ring, ring[:1], outline[place : place + 1], outline[place + 1 :]]
    )
