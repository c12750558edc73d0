"""Single annotations and segments of dataset dicts and COCO's files: kinds, ranges, masks, boxes.

What is harmless is put right, what cannot be used raises; an entry that is sound is passed on as it
is.
"""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
import torch
from detectron2.structures import BoxMode

from .faults import Faults, box, check_keypoints, flag, shown, whole_number
from .segmentations import FAR, plain, sound_array, sound_polygons, sound_segmentation, to_rle

Entry = dict[str, Any]

_MIN_BOX_IOU, _BOX_SLACK = 0.5, 2.0  # from where on a box and its mask are of different things
_BOX_MODES = (BoxMode.XYWH_ABS, BoxMode.XYXY_ABS, BoxMode.XYWHA_ABS)
_NUM_SEGMENT_IDS = 1 << 24  # three bytes of colour


def sound_annotation(annotation: Any, size: tuple[int, int] | None) -> Entry:
    """One annotation of an image, ``size`` (height, width) or unknown; itself if nothing changes.

    Raises:
        ValueError: it cannot be used.
    """
    if not isinstance(annotation, dict):
        raise ValueError(f"it is {type(annotation).__name__}, no dict")
    changed: Entry = {}
    if type(annotation.get("category_id")) is not int:
        changed["category_id"] = whole_number(annotation.get("category_id"), "category_id")
    crowd = annotation.get("iscrowd", 0)
    if type(crowd) is not int or crowd not in (0, 1):
        changed["iscrowd"] = flag(crowd)
    if annotation.get("keypoints") is not None:
        check_keypoints(annotation["keypoints"])
    if annotation.get("bbox_mode", BoxMode.XYWH_ABS) not in _BOX_MODES:
        raise ValueError(
            f"'bbox_mode' is {shown(annotation['bbox_mode'])}; it is BoxMode.XYXY_ABS, "
            "BoxMode.XYWH_ABS or BoxMode.XYWHA_ABS, in pixels"
        )
    values = annotation.get("bbox")
    if isinstance(values, list) and not values:  # as where there is none
        annotation = {key: value for key, value in annotation.items() if key != "bbox"}
        values = None
    if values is not None:
        numbers = box(values)
        if len(numbers) == 5 and annotation.get("bbox_mode") != BoxMode.XYWHA_ABS:
            raise ValueError(
                f"'bbox' is {shown(values)}; it is four numbers, or five of a turned box where "
                "'bbox_mode' is BoxMode.XYWHA_ABS"
            )
        if type(values) is not list:
            changed["bbox"] = numbers
    mask = annotation.get("segmentation")
    if mask is not None:
        found = _checked_mask(mask, size)
        if found is not mask:
            changed["segmentation"] = found
        if values is None and size is not None and len(found):
            changed["bbox"], changed["bbox_mode"] = box_of(found, size), BoxMode.XYWH_ABS
    return {**annotation, **changed} if changed else annotation


def box_of(mask: Any, size: tuple[int, int]) -> list[float]:
    """[x, y, width, height] around a sound mask."""
    if isinstance(mask, list) and all(len(part) < 6 for part in mask):
        return [0.0, 0.0, 0.0, 0.0]
    rle = to_rle(sound_segmentation(mask, size, slack=0, reach=FAR), size)
    return mask_util.toBbox(rle).tolist()


def has_pixels(mask: Any, size: tuple[int, int]) -> bool:
    """Whether a sound mask has any pixel, and its polygons are not all within the first one."""
    parts = plain(mask)
    is_of_polygons = isinstance(parts, list) and {list} == set(map(type, parts))
    if is_of_polygons and max(max(part, default=0) for part in parts) <= 1:
        return False
    width, height = box_of(mask, size)[2:]
    return width * height > 0


def with_own_box(annotation: Entry, size: tuple[int, int]) -> Entry:
    """A sound annotation of an image of ``size`` (height, width), itself or with the box of its
    mask, where it has both and they differ."""
    given, mask = annotation.get("bbox"), annotation.get("segmentation")
    if given is None or mask is None or not len(mask) or "bbox_mode" not in annotation:
        return annotation
    if len(given) != 4:
        return annotation
    around = box_of(plain(mask), size)
    if around[2] * around[3] == 0:  # outside of the image
        return annotation
    given = BoxMode.convert(list(given), BoxMode(annotation["bbox_mode"]), BoxMode.XYWH_ABS)
    if not boxes_differ(given, around):
        return annotation
    return {**annotation, "bbox": around, "bbox_mode": BoxMode.XYWH_ABS}


def _checked_mask(mask: Any, size: tuple[int, int] | None) -> Any:
    """The mask as lists, RLE or array, itself where it has that form. Of unknown size, it is looked
    at when it is drawn."""
    found = plain(mask)
    if isinstance(found, list) and not found:
        return mask
    if not isinstance(found, list | dict) and not hasattr(found, "shape"):
        raise ValueError(f"the mask is neither a list of polygons nor an RLE: {shown(found)}")
    if size is not None:
        if hasattr(found, "shape"):
            sound_array(found, size)
        elif isinstance(found, list) and not any(isinstance(part, dict) for part in found):
            sound_polygons(found, size, FAR)
        else:
            found = sound_segmentation(found, size, slack=0, reach=FAR)
    return mask if _is_same(found, mask) else found


def _is_same(found: Any, mask: Any) -> bool:
    if not isinstance(found, type(mask)):
        return False
    if isinstance(found, list):
        return is_unchanged(found, mask)
    if not isinstance(found, dict):
        return found is mask
    has_arrays = any(isinstance(value, np.ndarray | torch.Tensor) for value in mask.values())
    return not has_arrays and found == mask and {int}.issuperset(map(type, mask["size"]))


def is_unchanged(found: Sequence[Any], original: Sequence[Any]) -> bool:
    """Whether two sequences hold the same objects."""
    return len(found) == len(original) and all(map(operator.is_, found, original))


def sound_segments(segments: list[Entry], where: str, faults: Faults) -> list[Entry]:
    """Those of ``segments`` that can be used, each id once; as of :func:`sound_dicts`."""
    sound: list[Entry] = []
    seen: set[int] = set()
    for number, segment in enumerate(segments):
        try:
            found = sound_segment(segment)
        except ValueError as error:
            faults.add("unusable segment", f"segment {number}: {error}", where)
            continue
        if found["id"] in seen:
            faults.add("segment listed twice", f"the id {found['id']} is listed twice", where)
        seen.add(found["id"])
        sound.append(found)
    return segments if is_unchanged(sound, segments) else sound


def sound_segment(segment: Any) -> Entry:
    """One of ``segments_info``; itself if nothing changes.

    Raises:
        ValueError: it cannot be used.
    """
    if not isinstance(segment, dict):
        raise ValueError(f"it is {type(segment).__name__}, no dict")
    changed: Entry = {}
    for key in ("id", "category_id"):
        if type(segment.get(key)) is not int:
            changed[key] = whole_number(segment.get(key), key)
    number = changed.get("id", segment.get("id"))
    if not 0 < number < _NUM_SEGMENT_IDS:
        raise ValueError(
            f"'id' is {number}; a segment's id is between 1 and {_NUM_SEGMENT_IDS - 1}, 0 is void"
        )
    for key in ("iscrowd", "isthing"):
        value = segment.get(key, 0)
        if type(value) not in (int, bool) or value not in (0, 1):
            changed[key] = flag(value, key)
    return {**segment, **changed} if changed else segment


def boxes_differ(given: list[float], around: list[float]) -> bool:
    """Whether two boxes [x, y, width, height] cannot be around the same mask."""
    if len(given) != 4:
        return False
    corners = [[x, y, x + w, y + h] for x, y, w, h in (given, around)]
    if max(abs(a - b) for a, b in zip(*corners, strict=True)) <= _BOX_SLACK:
        return False
    (a0, b0, a1, b1), (c0, d0, c1, d1) = corners
    shared = max(min(a1, c1) - max(a0, c0), 0) * max(min(b1, d1) - max(b0, d0), 0)
    union = given[2] * given[3] + around[2] * around[3] - shared
    return shared < _MIN_BOX_IOU * union
