"""Supervisely: ``meta.json``, and folders with ``img`` and ``ann`` (docs.supervisely.com).

Polygons, with holes, and bitmaps are objects. Whole numbers of a polygon are those of pixels, which
belong to it; other numbers lie between them. Rectangles are boxes; points and lines have no area.
"""

import base64
import binascii
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...names import path_inside
from ...pictures import UnreadableFileError, opened
from ..faults import Faults
from ..json_files import read_json
from ..segmentations import Segmentation
from .class_lists import settled, unique
from .content import (
    BOX_REMEDY,
    Content,
    Notes,
    Picture,
    Shape,
    Source,
    checked_class,
    each_shape,
    read_all,
    read_picture_json,
    size_of,
    split_called,
)
from .outlines import placed, points_of, rectangle, segmentation_of

TITLE = "Supervisely"
_META, _PICTURES, _ANNOTATIONS = "meta.json", "img", "ann"
_WITHOUT_AREA = ("point", "line", "graph", "cuboid", "keypoints")
_MAX_BITMAP = 1 << 26  # bytes of an encoded bitmap


def recognises(folder: Path) -> bool:
    return (folder / _META).is_file() and bool(_datasets(folder))


def _datasets(folder: Path) -> list[Path]:
    """The folders that have annotations, nested ones, too."""
    return sorted(path.parent for path in folder.rglob(_ANNOTATIONS) if path.is_dir())


def read(source: Source, faults: Faults) -> Content:
    """
    Raises:
        ValueError: ``meta.json`` cannot be used; or a fault, where they are not collected.
    """
    meta = source.folder / _META
    content = read_json(meta, "list of classes")
    entries = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{meta}: 'classes' is no list of entries with 'title'")
    try:
        classes = unique(checked_class(entry.get("title")) for entry in entries)
    except ValueError as error:
        raise ValueError(f"{meta}: {error}") from error
    folders = _datasets(source.folder)
    if not folders:
        raise ValueError(f"{source.folder}: no folder in it has '{_ANNOTATIONS}'")
    items = [
        (file, _split_of(folder, source, len(folders)))
        for folder in folders
        for file in sorted((folder / _ANNOTATIONS).glob("*.json"))
    ]
    pictures, remarks = read_all(lambda item: _read(*item, source), items, faults, TITLE)
    classes, pictures = settled(classes, pictures, faults, _META)
    return Content(classes, pictures, remarks)


def _split_of(folder: Path, source: Source, count: int) -> str:
    """A data set of a project is a split, called by its folder; the only one is ``train``."""
    name = folder.relative_to(source.folder).as_posix()
    return split_called(name.replace("datasets/", "")) if count > 1 else "train"


def _read(file: Path, split: str, source: Source) -> tuple[Picture | None, Notes]:
    notes = Notes(str(file))
    try:
        content = read_picture_json(file)
        if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
            raise ValueError(f"{file}: 'objects' is no list")
    except ValueError as error:
        notes.fault("unreadable annotation", str(error))
        return None, notes
    name = file.stem  # a.jpg.json is of a.jpg
    tries = [file.parent.parent / _PICTURES / name]
    if source.images is not None:
        tries += [path_inside(source.images, name)]
    picture = next((path for path in tries if path.is_file()), None)
    if picture is None:
        detail = f"there is no {tries[0]}; put it there, or name its folder with --images"
        notes.fault("missing picture", detail)
        return None, notes
    try:
        stated = content.get("size")
        stated = stated if isinstance(stated, dict) else {}
        size = size_of(picture, (stated.get("height"), stated.get("width")))
    except ValueError as error:
        notes.fault("missing picture", str(error))
        return None, notes
    read_one = partial(_shape, size=size, source=source, notes=notes)
    found = each_shape(content["objects"], read_one, "objects", notes)
    return Picture(picture, name, split, size, tuple(shape for _, shape in found)), notes


def _shape(entry: Any, size: tuple[int, int], source: Source, notes: Notes) -> Shape | None:
    """None: it has no area, which ``notes`` then count."""
    if not isinstance(entry, dict):
        raise ValueError("it is no object with 'classTitle' and 'geometryType'")
    name, kind = checked_class(entry.get("classTitle")), entry.get("geometryType")
    if kind == "bitmap":
        return Shape(name, _bitmap(entry.get("bitmap"), size))
    if kind in ("polygon", "rectangle"):
        points = entry.get("points")
        if not isinstance(points, dict):
            raise ValueError("'points' is no object with 'exterior' and 'interior'")
        if kind == "polygon":
            holes = points.get("interior") or []
            if not isinstance(holes, list):
                raise ValueError("'interior' is no list of outlines")
            outline = _outline(points.get("exterior"), "exterior")
            inner = tuple(_outline(hole, "interior") for hole in holes)
            return Shape(name, segmentation_of(outline, size, inner))
        if source.with_boxes:
            return Shape(name, segmentation_of(_box(points), size))
        notes.left_out[BOX_REMEDY] += 1
    elif kind in _WITHOUT_AREA:
        notes.left_out["points and lines have no area and are left out"] += 1
    else:
        raise ValueError(f"the 'geometryType' {str(kind)[:40]!r} is unknown")
    return None


def _outline(points: Any, what: str) -> np.ndarray:
    """(N, 2) of the centres of the pixels that whole numbers count."""
    found = points_of(points, what)
    return found + 0.5 if all(type(v) is int for point in points for v in point) else found


def _box(points: dict[str, Any]) -> np.ndarray:
    corners = points.get("exterior")
    if not isinstance(corners, list) or len(corners) != 2:
        raise ValueError("'exterior' of a rectangle is two [x, y]")
    low, _, high = np.sort(_outline([*corners, corners[1]], "exterior"), axis=0)
    return rectangle(*low, *high)


def _bitmap(bitmap: Any, size: tuple[int, int]) -> Segmentation:
    """A PNG, packed by zlib and in base64, from ``origin`` (x, y) on."""
    if not isinstance(bitmap, dict) or not isinstance(bitmap.get("data"), str):
        raise ValueError("'bitmap' is no object with 'data' and 'origin'")
    origin = bitmap.get("origin")
    if not isinstance(origin, list) or [type(v) for v in origin] != [int, int]:
        raise ValueError("'origin' of the bitmap is no [x, y] of whole numbers")
    try:
        packed = base64.b64decode(bitmap["data"], validate=True)
        unpacker = zlib.decompressobj()
        png = unpacker.decompress(packed, _MAX_BITMAP)
        if unpacker.unconsumed_tail:
            raise ValueError(f"it unpacks to more than {_MAX_BITMAP} bytes")
        if not unpacker.eof:
            raise ValueError("its data are cut off")
        with opened("bitmap", size[0] * size[1], png) as image:
            if image.mode == "RGB":
                raise ValueError("it has colours and no transparency")
            has_alpha = image.mode in ("LA", "RGBA") or "transparency" in image.info
            mask = np.array(image.convert("RGBA").getchannel(3) if has_alpha else image) > 0
    except (binascii.Error, zlib.error, ValueError) as error:
        reason = error.reason if isinstance(error, UnreadableFileError) else error
        raise ValueError(f"the bitmap cannot be read: {reason}") from error
    return placed(mask, (origin[0], origin[1]), size)
