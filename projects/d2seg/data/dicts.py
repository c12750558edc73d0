"""The one check of dataset dicts, between any loader and whatever consumes them.

Loaders are this project's (declared data sets), detectron2's, and a user's own that is registered
with detectron2's catalog. What is harmless is put right, the rest is refused: an entry's numbers
reach neither compiled code nor a training before they have been looked at.
"""

import json
import math
import os
import re
import time
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from torch.utils.data import Dataset

from ..names import meant_file
from .catalog import metadata_of
from .datasets.coco_files import read_coco
from .entries import has_pixels, is_unchanged, sound_annotation, sound_segments
from .faults import Faults, image_size, shown
from .segmentations import MaskSizeError

# of a loader that is not this project's
_FOREIGN = (
    *(AssertionError, LookupError, TypeError, AttributeError, OSError, ArithmeticError),
    *(RuntimeError, ImportError),
)
_URL = re.compile(r"[A-Za-z][\w+.-]*://")
_STRIDE = 97
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
    if "annotations" in keys:
        _refuse_masks_without_pixels(dicts, name)
    return _numbered(dicts, name) if for_test else dicts


def _refuse_masks_without_pixels(dicts: list[Entry], name: str) -> None:
    """See that not all masks are empty, as those whose coordinates are parts of width and height.

    Looks at annotations up to the first that is good: in nearly all data sets at one.
    """
    first = ""
    for entry in dicts:
        if entry.get("height") is None:
            return
        for number, annotation in enumerate(entry.get("annotations", ())):
            mask = annotation.get("segmentation")
            if mask is None or not len(mask) or has_pixels(mask, (entry["height"], entry["width"])):
                return
            first = first or f"{entry['file_name']}: annotation {number}"
    if first:
        raise ValueError(
            f"data set {name!r}: no mask has a pixel in its picture, as that of {first}; "
            "coordinates of 'segmentation' are counted in pixels"
        )


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
            faults.add(kind, f"annotation {number}: {error}", where, ("unsound", number))
        except ValueError as error:
            kind = "unusable mask" if "mask" in str(error) else "unusable annotation"
            faults.add(kind, f"annotation {number}: {error}", where, ("unsound", number))
    return annotations if is_unchanged(sound, annotations) else sound


def _numbered(dicts: list[Entry], name: str) -> list[Entry]:
    seen: dict[Any, str] = {}
    result = []
    for number, entry in enumerate(dicts):
        if entry.get("image_id") is None:
            entry = {**entry, "image_id": number}
        image_id = entry["image_id"]
        if not isinstance(image_id, Hashable) or isinstance(image_id, np.ndarray | torch.Tensor):
            raise ValueError(
                f"data set {name!r}: {entry['file_name']}: 'image_id' is {shown(image_id)}; it is "
                "a whole number or text"
            )
        first = seen.setdefault((image_id, entry.get("slice_index")), entry["file_name"])
        if len(seen) <= len(result):
            raise ValueError(
                f"data set {name!r}: the image id {image_id!r} is that of {first} and of "
                f"{entry['file_name']}; every image has its own"
            )
        result.append(entry)
    return result


def check_files_of(
    dicts: Dicts, names: Sequence[str], keys: Collection[str] = _FILES, seconds: float = math.inf
) -> None:
    """See that the pictures and label maps of dicts are there, except volumes.

    Args:
        names: of the data sets, for the message
        keys: of the files that are going to be read
        seconds: until the rest is left, as on a disk behind a network

    Raises:
        ValueError: some are not.
    """
    missing, num_seen = [], 0
    end = time.monotonic() + seconds
    for number in _spread(len(dicts) if isinstance(dicts, list) else 0):
        entry = dicts[number]
        paths = [(key, str(entry[key])) for key in keys if key in entry]
        local = [] if "slice_index" in entry else [x for x in paths if not _URL.match(x[1])]
        missing += [(number, *x) for x in local if not os.path.exists(x[1])]
        num_seen += len(local)
        if time.monotonic() > end:
            break
    if not missing:
        return
    _, key, path = min(missing, key=itemgetter(0))
    others = f", nor {len(missing) - 1} more of {num_seen} files" if len(missing) > 1 else ""
    meant = meant_file(path)
    remedy = f"correct it to {meant}" if meant else "put it there, or correct the name"
    of = f"data set{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))}"
    raise ValueError(f"{of}: there is no {path} ('{key}'){others}; {remedy}")


def _spread(count: int) -> Iterator[int]:
    """Each of 0 .. ``count`` - 1, the first ones from all parts: files of one kind and folder stand
    together."""
    return chain.from_iterable(range(start, count, _STRIDE) for start in range(_STRIDE))
