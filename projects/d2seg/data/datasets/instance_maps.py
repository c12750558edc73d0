"""Dataset dicts of instances that label maps number: 0 for none, another value for each object.

H, W: height and width of a label map.
"""

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from detectron2.structures import BoxMode
from tqdm import tqdm

from ..faults import Faults
from ..id_runs import Rle, num_parts, rles_of, split_parts
from ..label_maps import read_values
from .loaders import hints_on_unpaired, pair_files, unpaired_message, warn_of_unpaired
from .object_ids import ObjectIds, Table, read_table
from .selection import Selection

_BINARY_GREY = 255
_THREADS = 8
_DELAY = 5.0  # seconds from which on reading has a progress bar, in a terminal
Entry = dict[str, Any]


@dataclass
class InstanceMaps:
    """Called, reads all label maps of a split, once; a loader of detectron2's ``DatasetCatalog``.

    A dict has ``annotations`` with RLEs, and ``instance_file_name``, the label map.

    Args:
        table: a CSV file with the class of each object, where the ids alone do not say it

    Raises:
        ValueError: as ``pair_files``, ``read_values`` and ``read_table``; or an id has no class.
    """

    image_root: str
    label_root: str
    label_suffix: str
    ids: ObjectIds
    table: Path | None = None
    selection: Selection | None = None
    _entries: list[Entry] | None = field(default=None, init=False)

    def __call__(self) -> list[Entry]:
        if self._entries is None:
            self._entries = self.read(Faults(""))[0]
        return [dict(entry) for entry in self._entries]

    def read(self, faults: Faults, *, count_parts: bool = False) -> tuple[list[Entry], list[str]]:
        """The dicts, and remarks on what may be meant otherwise, where parts are counted.

        Args:
            faults: collects what is wrong, map by map, or raises it
        """
        table = None
        if self.table is not None:
            table = read_table(self.table, self.ids.class_names)
        pairs, no_label, no_image = pair_files(
            self.image_root, self.label_root, self.label_suffix, selection=self.selection
        )
        folders = self.image_root, self.label_root, self.label_suffix
        hints = hints_on_unpaired(*folders, no_label, no_image)
        if not pairs:
            raise ValueError(unpaired_message(*folders, hints))
        if not faults.is_collecting:
            warn_of_unpaired(no_label, no_image, hints)
        names = {name for image, _ in pairs for name in self._names(image)}
        for image in sorted((table or {}).keys() - names) if self.selection is None else ():
            detail = f"lists {image!r}, which is not there; a split's table has its own pictures"
            faults.add("table without image", f"{self.table} {detail}")
        workers = min(_THREADS, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers) as pool:
            found = pool.map(lambda pair: self._read(*pair, table, count_parts), pairs)
            bar = tqdm(
                found, "reading instances", len(pairs), unit="map", delay=_DELAY, disable=None
            )
            maps = [_collect(one, faults) for one in bar]
        remarks = _remarks(maps, self.ids) if count_parts else []
        return [one.entry for one in maps if one.entry is not None], remarks

    def _names(self, image: str) -> tuple[str, str]:
        """What an image is called: its path below the root without extension, and with it."""
        name = os.path.relpath(image, self.image_root)
        return os.path.splitext(name)[0], name

    def _read(self, image: str, label: str, table: Table | None, count_parts: bool) -> "_Map":
        stem, name = self._names(image)
        try:
            values = read_values(label)
        except ValueError as error:
            return _Map(label, None, [("unreadable label map", str(error))])
        result = _Map(label, None)
        if self.ids.ignore_label is not None:
            values[values == self.ids.ignore_label] = 0
        if values.min(initial=0) < 0:
            result.faults.append(("unusable id", f"the id {values.min()} is negative"))
            values[values < 0] = 0
        of_image = {}
        if table is not None:
            of_image = {**table.get(name, {}), **table.get(stem, {})}
        of_object = None
        if self.ids.is_parts:
            values, of_object = split_parts(values)
        found: dict[int, list[Rle]] = {}
        for number, rle in rles_of(values).items():
            found.setdefault(number if of_object is None else int(of_object[number]), []).append(
                rle
            )
        classes = _classes_of(found, self.ids, of_image, result)
        annotations = [
            _annotation(rle, classes[number]) for number in classes for rle in found[number]
        ]
        if count_parts and of_object is None:
            result.in_parts = [number for number in classes if num_parts(found[number][0]) > 1]
        result.values = set(classes)
        result.is_byte = values.dtype == np.uint8
        result.entry = {
            "file_name": image,
            "image_id": stem,
            "height": values.shape[0],
            "width": values.shape[1],
            "instance_file_name": label,
            "annotations": annotations,
        }
        return result


@dataclass
class _Map:
    """What one label map holds."""

    file: str
    entry: Entry | None
    faults: list[tuple[str, str]] = field(default_factory=list)  # kind, particulars
    in_parts: list[int] = field(default_factory=list)  # ids
    values: set[int] = field(default_factory=set)  # ids
    is_byte: bool = False


def _classes_of(
    found: dict[int, list[Rle]], ids: ObjectIds, of_image: dict[int, int], result: _Map
) -> dict[int, int]:
    """{id: class} of the ids of a map; those that have no class are noted as faults."""
    classes: dict[int, int] = {}
    unknown: Counter[int] = Counter()
    known = {**dict(ids.classes), **of_image}
    for number, rles in found.items():
        category = known.get(number, ids.other)
        if category is None:
            unknown[number] = sum(int(mask_util.area(rle)) for rle in rles)
        else:
            classes[number] = category
    if unknown:
        few = ", ".join(f"{number} ({unknown[number]} pixels)" for number in list(unknown)[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        remedy = "give it under 'values' (or 'other' there), or in the split's 'table'"
        result.faults.append(("id without a class", f"ids without a class: {few}{more}; {remedy}"))
    missing = [number for number in of_image if number not in classes]
    if missing:
        few = ", ".join(map(str, missing[:5]))
        detail = f"the table lists the id {few}, which no pixel has"
        result.faults.append(("id not in its map", detail))
    return classes


def _annotation(rle: Rle, category: int) -> Entry:
    return {
        "category_id": category,
        "iscrowd": 0,
        "bbox": mask_util.toBbox(rle).tolist(),
        "bbox_mode": BoxMode.XYWH_ABS,
        "segmentation": rle,
    }


def _collect(one: _Map, faults: Faults) -> _Map:
    for kind, detail in one.faults:
        faults.add(kind, detail, "" if one.file in detail else one.file)
    return one


def _remarks(maps: Iterable[_Map], ids: ObjectIds) -> list[str]:
    """What the checker says of maps that can be used as they are."""
    maps = [one for one in maps if one.entry is not None]
    remarks = []
    split = [one for one in maps if one.in_parts]
    if split:
        first, count = split[0], sum(len(one.in_parts) for one in split)
        remarks.append(
            f"{count} ids in {len(split)} label maps have several parts, as id "
            f"{first.in_parts[0]} of {first.file}: each is one object; if every part is an object "
            "of its own, declare objects: parts"
        )
    with_border = [o for o in maps if o.is_byte and _BINARY_GREY in o.values and len(o.values) > 1]
    if with_border and not ids.is_parts:
        remarks.append(
            f"{len(with_border)} label maps of 8 bits have an object 255 beside others, as "
            f"{with_border[0].file}: if 255 marks borders or what is not annotated, declare "
            "ignore_label: 255"
        )
    return remarks
