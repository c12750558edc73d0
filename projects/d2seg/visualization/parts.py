"""The parts of a picture, (H, W), that hold masks: so thousands of small ones take no more memory
and time than the picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from .id_codes import IdCodes

Part = tuple[slice, slice]  # rows and columns of a picture


def parts_of_ids(ids: np.ndarray, wanted: Sequence[int]) -> dict[int, Part]:
    """The smallest part of an id map (H, W) that holds each of the ids that it has, found in one
    pass over the map."""
    numbers = IdCodes(wanted)
    found = ndimage.find_objects(numbers.of(ids), len(numbers))
    return {i: part for i, part in zip(numbers, found, strict=True) if part is not None}


def cropped(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """The smallest part of a mask (H, W) that holds all of it, and its corner."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return mask[:0, :0], (0, 0)
    part = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return mask[part], corner_of(part)


def corner_of(part: Part) -> tuple[int, int]:
    """(row, column) of its first pixel."""
    return part[0].start, part[1].start


def mask_part(masks: Any, place: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A part of one of N masks that holds all of it, bool, and its corner (row, column).

    Args:
        masks: a tensor (N, H, W), or what keeps masks as their parts (``part`` of ``MaskCrops``).
    """
    if hasattr(masks, "part"):
        part, top, left = masks.part(place)
        return part.numpy(), (top, left)
    return cropped(masks[place].numpy().astype(bool, copy=False))
