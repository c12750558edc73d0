"""The one check of dataset dicts, between any loader and whatever consumes them.

Loaders are this project's (declared data sets), detectron2's, and a user's own that is registered
with detectron2's catalog. What is harmless is put right, the rest is refused: an entry's numbers
reach neither compiled code nor a training before they have been looked at.
"""

import json
import os
from collections.abc import Collection, Iterable
from typing import Any

import pycocotools.mask as mask_util
from detectron2.data import DatasetCatalog
from detectron2.structures import BoxMode
from torch.utils.data import Dataset

from .catalog import metadata_of
from .datasets.coco_files import read_coco
from .faults import Faults, box, flag, image_size, whole_number
from .segmentations import (
    FAR,
    MaskSizeError,
    plain,
    sound_array,
    sound_polygons,
    sound_segmentation,
    to_rle,
)

_FOREIGN = (AssertionError, LookupError, TypeError, AttributeError, OSError, OverflowError)
_NUM_SEGMENT_IDS = 1 << 24  # three bytes of colour
_FILES = ("file_name", "sem_seg_file_name", "pan_seg_file_name")
# lists of a dict, and the key that asks for them
_LISTS = {"annotations": "annotations", "segments_info": "pan_seg_file_name"}
Entry = dict[str, Any]
Dicts = list[Entry] | Dataset


def load_dicts(name: str, *, for_test: bool = False, keys: Collection[str] = _LISTS) -> Dicts:
    """The checked dicts of a registered data set.

    Args:
        for_test: every image has a number of its own, and those without one get it
        keys: "annotations", "segments_info": those that are going to be read

    Raises:
        ValueError: there is no such data set, it cannot be loaded, is empty, or :func:`sound_dicts`
            refuses it.
    """
    dicts = loaded_entries(name)
    if isinstance(dicts, Dataset):  # its dicts are made when they are asked for
        return dicts
    dicts = sound_dicts(dicts, name, keys)
    return _numbered(dicts, name) if for_test else dicts


def loaded_entries(name: str) -> Dicts:
    """What the loader of a registered data set gives, as a list, unchecked.

    Raises:
        ValueError: as :func:`load_dicts`.
    """
    metadata = metadata_of(name)
    try:
        loaded = DatasetCatalog.get(name)
        is_lazy = isinstance(loaded, Dataset)
        dicts = loaded if is_lazy else list(loaded)
    except json.JSONDecodeError as error:
        raise ValueError(f"data set {name!r}: not a JSON file: {error}") from error
    except _FOREIGN as error:
        for key in ("json_file", "panoptic_json"):
            if metadata.get(key) is not None:  # the entry that is wrong, if this finds it
                read_coco(metadata.get(key), is_panoptic=key == "panoptic_json")
        reason = " ".join(str(error).split())
        raise ValueError(
            f"data set {name!r} cannot be loaded: {type(error).__name__}: {reason}"
        ) from error
    if not is_lazy and not dicts:
        hint = "" if isinstance(loaded, list) else "; its function has to return a list of dicts"
        raise ValueError(f"data set {name!r} has no image{hint}")
    return dicts


def sound_dicts(dicts: Iterable[Entry], name: str, keys: Collection[str] = _LISTS) -> list[Entry]:
    """``dicts`` with what is harmless put right; entries that are sound are passed on as they are.

    "0" and true are numbers in ``iscrowd``, arrays and tensors of polygons, runs and boxes lists.

    Raises:
        ValueError: an entry that cannot be used; the message has data set, picture and key.
    """
    faults = Faults(f"data set {name!r}")
    return [sound_entry(x, f"entry {number}", faults, keys) for number, x in enumerate(dicts)]


def sound_entry(
    entry: Any, where: str, faults: Faults, keys: Collection[str] = _LISTS
) -> Entry | None:
    """One dict, as of :func:`sound_dicts`; without the annotations and segments that have a fault.

    Args:
        where: it stands, for the message

    Returns:
        None where faults are collected and nothing of it can be used.
    """
    if not isinstance(entry, dict):
        faults.add("unusable entry", f"{where} is {type(entry).__name__}, no dict")
        return None
    changed: Entry = {}
    try:
        for key in _FILES:
            if key in entry or key == "file_name":
                path = entry.get(key)
                if not isinstance(path, str | os.PathLike) or not os.fspath(path):
                    raise ValueError(f"'{key}' is {path!r}; it is a path")
                if not isinstance(path, str):
                    changed[key] = os.fspath(path)
        size = None
        if entry.get("height") is not None or entry.get("width") is not None:
            size = image_size(entry)
            if (type(entry["height"]), type(entry["width"])) != (int, int):
                changed["height"], changed["width"] = size
        for key in keys:
            if (key in entry or _LISTS[key] in entry) and not isinstance(
                entry.get(key), list | tuple
            ):
                raise ValueError(f"'{key}' is missing, or no list")
    except ValueError as error:
        faults.add("unusable entry", f"{where}: {error}")
        return None
    where = str(changed.get("file_name", entry["file_name"]))
    if "annotations" in entry and "annotations" in keys:
        annotations = _sound_annotations(entry["annotations"], size, where, faults)
        if annotations is not entry["annotations"]:
            changed["annotations"] = annotations
    if "segments_info" in entry and "segments_info" in keys:
        segments = sound_segments(entry["segments_info"], where, faults)
        if segments is not entry["segments_info"]:
            changed["segments_info"] = segments
    return {**entry, **changed} if changed else entry


def _sound_annotations(
    annotations: list[Entry], size: tuple[int, int] | None, where: str, faults: Faults
) -> list[Entry]:
    sound = []
    for number, annotation in enumerate(annotations):
        try:
            sound.append(sound_annotation(annotation, size))
        except MaskSizeError as error:
            kind = "annotation and image differ in size"
            faults.add(kind, f"{where}: annotation {number}: {error}")
        except ValueError as error:
            kind = "unusable mask" if "mask" in str(error) else "unusable annotation"
            faults.add(kind, f"{where}: annotation {number}: {error}")
    is_same = len(sound) == len(annotations) and all(map(_is, sound, annotations))
    return annotations if is_same else sound


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
    values = annotation.get("bbox")
    if values is not None:
        numbers = box(values)
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


def _checked_mask(mask: Any, size: tuple[int, int] | None) -> Any:
    """The mask as lists, RLE or array, itself where it has that form. Of unknown size, it is looked
    at when it is drawn."""
    found = plain(mask)
    if isinstance(found, list) and not found:
        return mask
    if not isinstance(found, list | dict) and not hasattr(found, "shape"):
        raise ValueError("the mask is neither a list of polygons nor an RLE")
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
        return all(map(_is, found, mask))
    return found is mask or (isinstance(found, dict) and found == mask)


def _is(first: Any, second: Any) -> bool:
    return first is second


def sound_segments(segments: list[Entry], where: str, faults: Faults) -> list[Entry]:
    """Those of ``segments`` that can be used, each id once; as of :func:`sound_dicts`."""
    sound: list[Entry] = []
    seen: set[int] = set()
    for number, segment in enumerate(segments):
        try:
            found = sound_segment(segment)
        except ValueError as error:
            faults.add("unusable segment", f"{where}: segment {number}: {error}")
            continue
        if found["id"] in seen:
            faults.add("segment listed twice", f"{where}: id {found['id']}")
            continue
        seen.add(found["id"])
        sound.append(found)
    is_same = len(sound) == len(segments) and all(map(_is, sound, segments))
    return segments if is_same else sound


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


def _numbered(dicts: list[Entry], name: str) -> list[Entry]:
    seen: dict[Any, str] = {}
    result = []
    for number, entry in enumerate(dicts):
        if entry.get("image_id") is None:
            entry = {**entry, "image_id": number}
        image_id = entry["image_id"]
        first = seen.setdefault((image_id, entry.get("slice_index")), entry["file_name"])
        if len(seen) <= len(result):
            raise ValueError(
                f"data set {name!r}: the image id {image_id!r} is that of {first} and of "
                f"{entry['file_name']}; every image has its own"
            )
        result.append(entry)
    return result


def check_files_of(dicts: Dicts, name: str) -> None:
    """See that the pictures and label maps of dicts are there, except volumes.

    Raises:
        ValueError: one is not.
    """
    for entry in dicts if isinstance(dicts, list) else ():
        for key in _FILES:
            is_local = key in entry and "://" not in entry[key] and "slice_index" not in entry
            if is_local and not os.path.exists(entry[key]):
                raise ValueError(f"data set {name!r}: there is no {entry[key]} ('{key}')")
