"""Masks of annotations, checked before compiled code sees them, in one form.

COCO's polygons and run lengths, ReferIt's lists of run lengths, and the arrays of data sets that
are registered in Python. A coordinate or a run that lies far outside of its image would take any
amount of memory in pycocotools; runs that do not make the image leave pixels that nobody has set.

Shapes: H, W of the image.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import torch

from ..pictures import MAX_PIXELS
from .faults import shown

Segmentation = list[list[float]] | dict[str, Any]

_NUMBERS = frozenset({int, float})
FAR = 64  # times its image's size that a polygon of an object may reach beyond it
MAX_OUTLINE = 2_000_000  # pixels along polygons: pycocotools takes 100 bytes and 0.2 us for each
_MAX_CHARACTERS = 7  # of a run length: 5 bits each, 32 in all


class MaskSizeError(ValueError):
    """A mask of another size than its image."""


def sound_segmentation(
    segmentation: Any, size: tuple[int, int], *, slack: int = 1, reach: float = 1
) -> Segmentation:
    """The mask of one annotation as polygons or as RLE of ``size`` with ``counts`` as text.

    Polygons of fewer than 3 points are left out. An RLE that is up to ``slack`` pixels smaller or
    larger than the image, in height or width, is continued by background or cut.

    Args:
        segmentation: polygons [[x0, y0, x1, y1, ...], ...], an RLE with its runs as numbers or as
            text, a list of RLEs, whose union counts, or an array of ``size``; polygons and runs may
            be arrays or tensors
        size: (H, W)
        reach: times the image's width or height that polygons may leave it on each side

    Raises:
        ValueError: it is none of these, or does not fit the image.
    """
    segmentation = plain(segmentation)
    if isinstance(segmentation, np.ndarray):
        return encode_mask(sound_array(segmentation, size))
    if isinstance(segmentation, dict):
        return _sound_rle(segmentation, size, slack)
    if isinstance(segmentation, list) and segmentation:
        if all(isinstance(part, dict) for part in segmentation):
            return union([_sound_rle(part, size, slack) for part in segmentation], size)
        polygons = sound_polygons(segmentation, size, reach)
        if polygons:
            return polygons
        raise ValueError(
            "the mask's polygons have fewer than 3 points; a polygon is [x0, y0, x1, y1, ...]"
        )
    raise ValueError(
        f"the mask is neither a list of polygons nor an RLE: {shown(segmentation)}; write polygons "
        "as [[x0, y0, x1, y1, ...]]"
    )


def sound_polygons(segmentation: list, size: tuple[int, int], reach: float) -> list[list[float]]:
    """The polygons of at least 3 points, which may be none; as :func:`sound_segmentation`."""
    if segmentation and _are_numbers(segmentation):
        raise ValueError("the mask is one flat list of numbers; write polygons as [[x, y, ...]]")
    found = [_sound_polygon(part, size, reach) for part in segmentation]
    polygons = [polygon for polygon, _ in found if len(polygon) >= 6]
    # the bounds first, which cost next to nothing
    if sum(bound for _, bound in found) > MAX_OUTLINE < sum(map(_outline, polygons)):
        raise ValueError(
            f"the outline of the mask's polygons is longer than {MAX_OUTLINE} pixels; write points "
            "of its border alone, each once"
        )
    return polygons


def plain(segmentation: Any) -> Any:
    """``segmentation`` with arrays and tensors inside as lists; a mask's own one as an array."""
    if isinstance(segmentation, torch.Tensor):
        return segmentation.cpu().numpy()
    if isinstance(segmentation, list | tuple):
        parts = [
            part.reshape(-1).tolist() if isinstance(part, np.ndarray | torch.Tensor) else part
            for part in segmentation
        ]
        return [_plain_numbers(part) for part in parts]
    if isinstance(segmentation, dict):
        counts, own = segmentation.get("counts"), segmentation.get("size")
        if isinstance(counts, np.ndarray | torch.Tensor):
            segmentation = {**segmentation, "counts": counts.tolist()}
        elif isinstance(counts, list | tuple):
            found = _plain_numbers(counts)
            segmentation = segmentation if found is counts else {**segmentation, "counts": found}
        if isinstance(own, np.ndarray | torch.Tensor):
            segmentation = {**segmentation, "size": own.tolist()}
        elif isinstance(own, list | tuple) and _plain_numbers(own) is not own:
            segmentation = {**segmentation, "size": _plain_numbers(own)}
    return segmentation


def _plain_numbers(values: Any) -> Any:
    """A tuple as a list, and a list of numpy's numbers as one of Python's; else as it is."""
    if isinstance(values, tuple):
        values = list(values)
    if isinstance(values, list) and values and isinstance(values[0], np.generic):
        return [v.item() if isinstance(v, np.generic) else v for v in values]
    return values


def sound_array(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W), 1 where ``mask`` is not 0.

    Raises:
        ValueError: it is no array of numbers of that size.
    """
    if mask.dtype.kind not in "buif":
        raise ValueError("the mask is an array, but not of numbers")
    if mask.shape != size:
        raise MaskSizeError(f"its size is {mask.shape}, that of the image {size}")
    if mask.dtype.kind == "f" and not np.isfinite(mask).all():
        raise ValueError("the mask is an array with values that are not finite")
    return (mask != 0).astype(np.uint8)


def union(segmentations: Sequence[Segmentation], size: tuple[int, int]) -> Segmentation:
    """The pixels of any of some sound segmentations, as an RLE; of one, that one itself."""
    if len(segmentations) == 1:
        return segmentations[0]
    return _as_text(mask_util.merge([to_rle(part, size) for part in segmentations]))


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """COCO's compressed RLE, with ``counts`` as text for JSON, of a mask (H, W) of 0 and 1."""
    return _as_text(mask_util.encode(np.asfortranarray(mask, dtype=np.uint8)))


def to_rle(segmentation: Segmentation, size: tuple[int, int]) -> dict[str, Any]:
    """pycocotools' compressed RLE of a sound segmentation."""
    if isinstance(segmentation, dict):
        return segmentation
    return mask_util.merge(mask_util.frPyObjects(segmentation, *size))


def expression_mask(expression: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """What an expression of a dataset dict means: bool (H, W), empty where it means nothing.

    Raises:
        ValueError: its mask does not fit the image.
    """
    segmentation = expression.get("segmentation")
    if segmentation is None:
        return np.zeros(size, dtype=bool)
    return mask_util.decode(to_rle(sound_segmentation(segmentation, size), size)).astype(bool)


def overhang(segmentation: Segmentation, size: tuple[int, int]) -> float:
    """By how many pixels the polygons leave their image at most; 0 for an RLE."""
    if isinstance(segmentation, dict):
        return 0.0
    points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in segmentation])
    return float(max(0.0, -points.min(), (points - size[::-1]).max()))


def _are_numbers(values: Any) -> bool:
    return type(values) is list and _NUMBERS.issuperset(map(type, values))


def _sound_polygon(polygon: Any, size: tuple[int, int], reach: float) -> tuple[list[float], float]:
    """The polygon, and a number that its outline does not exceed."""
    if not _are_numbers(polygon):
        raise ValueError(
            f"a polygon of the mask is no list of numbers: {shown(polygon)}; write polygons as "
            "[[x0, y0, x1, y1, ...]]"
        )
    if len(polygon) % 2:
        raise ValueError(f"a polygon of the mask has {len(polygon)} numbers, which is odd")
    height, width = size
    if not polygon:
        return polygon, 0
    xs, ys = polygon[::2], polygon[1::2]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    is_near = (
        -reach * width <= left
        and right <= (1 + reach) * width
        and -reach * height <= top
        and bottom <= (1 + reach) * height
    )
    # min and max may miss a NaN, which is neither below nor above; a sum does not
    if not is_near or math.isnan(sum(polygon)):
        raise ValueError(f"a polygon of the mask lies far outside of its {width}x{height} image")
    return polygon, max(right - left, bottom - top) * len(xs)


def _outline(polygon: list[float]) -> float:
    """Steps from pixel to pixel along a closed polygon."""
    points = np.reshape(polygon, (-1, 2))
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _sound_rle(rle: dict[str, Any], size: tuple[int, int], slack: int) -> dict[str, Any]:
    own, counts = (_whole_numbers(rle.get(key)) for key in ("size", "counts"))
    if not (isinstance(own, list | tuple) and [type(n) for n in own] == [int, int]):
        raise ValueError(
            f"the mask's RLE has no size [height, width]: {shown(rle)}; it is an object of 'size' "
            "and 'counts'"
        )
    if max(abs(n - wanted) for n, wanted in zip(own, size, strict=True)) > slack:
        raise MaskSizeError(
            f"the mask's RLE is {own[0]}x{own[1]}, its image {size[0]}x{size[1]} (height x width)"
        )
    runs = _runs(counts)
    if min(own) < 1 or (runs < 0).any() or runs.sum() != own[0] * own[1]:
        raise ValueError(
            f"the runs of the mask's RLE do not make {own[0]}x{own[1]} pixels: 'counts' is "
            f"{shown(counts)}; encode the mask anew, as by pycocotools"
        )
    if tuple(own) != size:
        values = np.arange(len(runs)) % 2
        mask = np.repeat(values, runs).astype(np.uint8).reshape(own[::-1]).T  # runs go down columns
        fitted = np.zeros(size, np.uint8, order="F")
        height, width = np.minimum(own, size)
        fitted[:height, :width] = mask[:height, :width]
        return _as_text(mask_util.encode(fitted))
    if isinstance(counts, list):
        return _as_text(mask_util.frPyObjects({"size": list(own), "counts": counts}, *own))
    return _as_text({"size": own, "counts": counts})


def _whole_numbers(values: Any) -> Any:
    """A list of 3.0 as one of 3; anything else as it is."""
    if isinstance(values, list | tuple) and float in map(type, values):
        return [int(v) if type(v) is float and v.is_integer() else v for v in values]
    return values


def _runs(counts: Any) -> np.ndarray:
    """(N,) int64 lengths of the runs of background and mask in turn, which may still be wrong."""
    if isinstance(counts, str):
        counts = counts.encode("ascii", "replace")
    if isinstance(counts, bytes):
        return _decoded(counts)
    if isinstance(counts, list) and set(map(type, counts)) <= {int}:
        if all(0 <= number <= 2 * MAX_PIXELS for number in counts):
            return np.array(counts, dtype=np.int64)
        return np.array([-1])
    raise ValueError(
        f"the mask's RLE has no 'counts' that are runs: {shown(counts)}; they are a list of whole "
        "numbers, or COCO's text"
    )


def _decoded(text: bytes) -> np.ndarray:
    """Runs of COCO's text form: numbers of groups of 5 bits, low ones first, in characters from
    "0"; the 6th bit says that another group comes, the 5th of the last is the sign. From the fourth
    number on, each is a difference to the one before the last."""
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 32) == 0)
    lengths = np.diff(ends, prepend=-1)
    is_whole = len(ends) > 0 and ends[-1] == len(codes) - 1
    if not is_whole or codes.min() < 0 or codes.max() > 63 or lengths.max() > _MAX_CHARACTERS:
        return np.array([-1])
    starts = ends + 1 - lengths
    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    numbers = np.add.reduceat((codes & 31) << shifts, starts)
    numbers -= ((codes[ends] & 16) > 0) * (1 << 5 * lengths)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _as_text(rle: dict[str, Any]) -> dict[str, Any]:
    counts = rle["counts"]
    return {
        "size": list(rle["size"]),
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }
