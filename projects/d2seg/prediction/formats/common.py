"""What formats share: a run's records with the names and ids of their classes.

H, W a picture's size in pixels.
"""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask as mask_util
from detectron2.data import Metadata
from PIL import Image

from ...data.segmentations import encode_mask
from ...visualization.segments import class_name
from ..folders.parts import Record
from ..found import dataset_id


@dataclass(frozen=True)
class Region:
    """A detection, a segment of a panoptic map, or all of a class in a label map.

    Attributes:
        category: the class as the model counts. kind: "thing" or "stuff".
        score: in [0, 1]; None: the model gives none.
        box: x, y, width, height.
        rle: COCO's compressed RLE of the mask; None: of a detector of boxes.
    """

    category: int
    kind: str
    score: float | None
    box: list[float]
    rle: dict[str, Any] | None

    def mask(self) -> np.ndarray | None:
        """(H, W) uint8 of 0 and 1."""
        return None if self.rle is None else mask_util.decode(self.rle)


@dataclass(frozen=True)
class Run:
    """
    Attributes:
        records: begins anew with each call.
        base: the folder that names of pictures are relative to; "" for addresses.
    """

    task: str
    records: Callable[[], Iterator[Record]]
    metadata: Metadata
    base: str

    def name_of(self, kind: str, category: int) -> str:
        return class_name(self.metadata, kind, category)

    def id_of(self, kind: str, category: int) -> int:
        """The class as the data set counts it, or the model where it has no other."""
        return dataset_id(self.metadata, kind, category)

    def images(self) -> Iterator[dict[str, Any]]:
        """COCO's "images"."""
        for record in self.records():
            size = {"height": record.height, "width": record.width}
            yield {"id": record.id, "file_name": record.name, **size}

    def categories(self) -> list[dict[str, Any]]:
        """COCO's "categories" of the task, in the order of their ids."""
        kinds = {"instance": ["thing"], "semantic": ["stuff"], "panoptic": ["stuff", "thing"]}
        found = {}
        for kind in kinds[self.task]:
            names = self.metadata.get(f"{kind}_classes") or ()
            mapping = self.metadata.get(f"{kind}_dataset_id_to_contiguous_id")
            mapping = mapping or {number: number for number in range(len(names))}
            for theirs, ours in mapping.items():
                if ours < len(names):
                    is_thing = int(kind == "thing")
                    found[theirs] = {"id": theirs, "name": names[ours], "isthing": is_thing}
        return [found[key] for key in sorted(found)]

    def regions(self, record: Record) -> Iterator[Region]:
        """What is in a picture; those of a label map or a panoptic map are cut out of it."""
        if self.task == "instance":
            for found in record.result["instances"]:
                rle = found.get("segmentation")
                yield Region(found["category_id"], "thing", found["score"], found["bbox"], rle)
            return
        values = read_map(record, self.task)
        if self.task == "panoptic":
            for segment in record.result["segments_info"]:
                kind = "thing" if segment.get("isthing", True) else "stuff"
                rle = encode_mask(values == segment["id"])
                yield Region(
                    segment["category_id"], kind, segment.get("score"), segment["bbox"], rle
                )
            return
        none = np.iinfo(values.dtype).max
        for category in np.unique(values[values != none]).tolist():
            rle = encode_mask(values == category)
            yield Region(category, "stuff", None, mask_util.toBbox(rle).tolist(), rle)


def read_map(record: Record, task: str) -> np.ndarray:
    """(H, W): the segment ids of a panoptic record, or the class ids of a semantic one."""
    with Image.open(io.BytesIO(record.png)) as image:
        pixels = np.asarray(image)
    if task != "panoptic":
        return pixels.astype(np.uint16) if pixels.dtype == np.int32 else pixels
    return pixels.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)


def put(path: Path, content: bytes) -> None:
    """Write a file of a picture; it is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.partial")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
