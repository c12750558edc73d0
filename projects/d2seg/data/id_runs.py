"""Masks of numbered pixels: the RLE of every number of a map, in one pass over its runs.

H, W: height and width of the map.
"""

from typing import Any

import cv2
import numpy as np
import pycocotools.mask as mask_util

Rle = dict[str, Any]


def rles_of(ids: np.ndarray) -> dict[int, Rle]:
    """COCO's compressed RLE, ``counts`` as text, of the pixels of each number but 0.

    Takes time for the pixels and the runs, not for numbers times pixels.

    Args:
        ids: (H, W) integers
    """
    flat = ids.ravel(order="F")  # COCO's runs go down columns
    starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)[: flat.size]
    lengths = np.diff(starts, append=flat.size)
    of_runs = flat[starts]
    order = np.argsort(of_runs, kind="stable")
    values, first = np.unique(of_runs[order], return_index=True)
    found = {}
    for value, chosen in zip(values.tolist(), np.split(order, first[1:]), strict=True):
        if value:
            found[value] = _rle(starts[chosen], lengths[chosen], ids.shape)
    return found


def _rle(starts: np.ndarray, lengths: np.ndarray, size: tuple[int, ...]) -> Rle:
    """Of runs that do not touch, in order."""
    ends = starts + lengths
    counts = np.empty(2 * len(starts), np.int64)
    counts[0::2] = starts - np.append(0, ends[:-1])
    counts[1::2] = lengths
    rest = size[0] * size[1] - int(ends[-1])
    runs = [*counts.tolist(), *([rest] if rest else [])]
    rle = mask_util.frPyObjects({"size": list(size), "counts": runs}, *size)
    return {"size": list(size), "counts": rle["counts"].decode("ascii")}


def num_parts(rle: Rle) -> int:
    """How many parts a mask has; pixels that touch at a corner are of one part."""
    x, y, width, height = map(int, mask_util.toBbox(rle))
    mask = mask_util.decode(rle)[y : y + height, x : x + width]
    return cv2.connectedComponents(np.ascontiguousarray(mask), connectivity=8)[0] - 1


def split_parts(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the parts of every value but 0 from 1 on.

    Args:
        ids: (H, W) integers

    Returns:
        (H, W) int32 numbers, 0 where ``ids`` is, and (N + 1,) the value that each number had.
    """
    parts = np.zeros(ids.shape, np.int32)
    values = [0]
    for value in np.unique(ids[ids != 0]).tolist():
        count, found = cv2.connectedComponents((ids == value).astype(np.uint8), connectivity=8)
        found[found > 0] += len(values) - 1
        parts += found
        values += [value] * (count - 1)
    return parts, np.array(values)


def rle_of_part(mask: np.ndarray, corner: tuple[int, int], size: tuple[int, int]) -> Rle:
    """The RLE of a picture of ``size`` whose mask is ``mask`` from ``corner`` on, else empty.

    Args:
        mask: bool (h, w), which lies inside of the picture
        corner: (x, y) of its first pixel
        size: (H, W)
    """
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1]), np.int8)
    padded[1:-1] = mask
    steps = np.diff(padded, axis=0).T  # (w, h + 1), as COCO's runs go down columns
    starts, ends = (
        (columns + corner[0]) * size[0] + rows + corner[1]
        for columns, rows in (np.nonzero(steps == 1), np.nonzero(steps == -1))
    )
    if not len(starts):
        return _rle(np.zeros(1, np.int64), np.zeros(1, np.int64), size)
    is_first = np.append(True, ends[:-1] != starts[1:])  # others go on in the next column
    starts, ends = starts[is_first], ends[np.append(is_first[1:], True)]
    return _rle(starts, ends - starts, size)
