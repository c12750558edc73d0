"""LabelMe: a JSON file for each picture, anywhere below a folder (github.com/wkentaro/labelme).

Polygons, circles and masks are objects, those of one ``group_id`` and label one together.
Rectangles are boxes; points and lines have no area. ``labels.txt`` in the folder, if it is there,
lists the classes. A picture that is not there is taken out of ``imageData``.
"""

import base64
import binascii
import math
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from ...pictures import UnreadableFileError, opened, read_oriented
from ..datasets.loaders import files_below
from ..faults import Faults
from ..segmentations import Segmentation
from .class_lists import listed_classes, settled
from .content import (
    BOX_REMEDY,
    Content,
    Notes,
    Picture,
    Shape,
    Source,
    checked_class,
    checked_name,
    each_shape,
    find_picture,
    grouped,
    read_all,
    read_picture_json,
    size_of,
)
from .outlines import ellipse, placed, points_of, rectangle, segmentation_of

TITLE = "LabelMe"
_CLASSES = "labels.txt"
_MAX_TRIES = 20  # JSON files that are looked into for the format


def recognises(folder: Path) -> bool:
    """Whether a JSON file of the folder has LabelMe's keys."""
    for file in sorted(files_below(folder, (".json",)))[:_MAX_TRIES]:
        try:
            content = read_picture_json(Path(file))
        except ValueError:
            continue
        if isinstance(content, dict) and "shapes" in content and "imagePath" in content:
            return True
    return False


def read(source: Source, faults: Faults) -> Content:
    """
    Raises:
        ValueError: the list of classes cannot be read; or a fault, where they are not collected.
    """
    classes = listed_classes(source.folder / _CLASSES)
    files = [Path(file) for file in sorted(files_below(source.folder, (".json",)))]
    pictures, remarks = read_all(lambda file: _read(file, source), files, faults, TITLE)
    classes, pictures = settled(classes, pictures, faults, _CLASSES)
    return Content(classes, pictures, remarks)


def _read(file: Path, source: Source) -> tuple[Picture | None, Notes]:
    notes = Notes(str(file))
    try:
        content = read_picture_json(file)
        if not isinstance(content, dict) or "shapes" not in content:
            notes.left_out["JSON files are none of LabelMe's: they have no 'shapes'"] += 1
            return None, notes
        if not isinstance(content["shapes"], list):
            raise ValueError("'shapes' is no list")
    except ValueError as error:
        notes.fault("unreadable annotation", str(error))
        return None, notes
    try:
        place, data = _picture(content, file, source)
        stated = (content.get("imageHeight"), content.get("imageWidth"))
        size = size_of(place, stated) if data is None else _embedded_size(data)
        name = checked_name(source.name_of(place))
    except ValueError as error:
        notes.fault("missing picture", str(error))
        return None, notes
    read_one = partial(_shape, size=size, source=source, notes=notes)
    found = each_shape(content["shapes"], read_one, "shapes", notes)
    shapes = [(entry.get("group_id"), shape) for entry, shape in found]
    return Picture(place, name, "train", size, grouped(shapes, size), data), notes


def _picture(content: dict[str, Any], file: Path, source: Source) -> tuple[Path, bytes | None]:
    """Where the picture is, or would be, and its bytes where the JSON file alone has it."""
    try:
        return find_picture(source, content.get("imagePath"), file.parent), None
    except ValueError:
        data = content.get("imageData")
        if not isinstance(data, str) or not data:
            raise
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"'imageData' is no base64: {error}") from error
    suffix = PureWindowsPath(str(content["imagePath"])).suffix or ".png"
    return file.with_suffix(suffix if suffix.isprintable() else ".png"), decoded


def _embedded_size(data: bytes) -> tuple[int, int]:
    try:
        return read_oriented("imageData", "L", content=data)[0].shape[:2]
    except UnreadableFileError as error:
        raise ValueError(f"'imageData' cannot be read: {error.reason}") from error


def _shape(entry: Any, size: tuple[int, int], source: Source, notes: Notes) -> Shape | None:
    """None: it has no area, which ``notes`` then count."""
    if not isinstance(entry, dict):
        raise ValueError("it is no object with 'label' and 'points'")
    name, kind = checked_class(entry.get("label")), entry.get("shape_type") or "polygon"
    if kind == "polygon":
        return Shape(name, segmentation_of(points_of(entry.get("points")), size))
    if kind == "mask":
        return Shape(name, _mask(entry, size))
    if kind == "circle" or (kind == "rectangle" and source.with_boxes):
        (x0, y0), (x1, y1) = _two_points(entry)
        outline = rectangle(x0, y0, x1, y1)
        if kind == "circle":
            radius = math.hypot(x1 - x0, y1 - y0)
            outline = ellipse((x0, y0), (radius, radius), 0)
        return Shape(name, segmentation_of(outline, size))
    if kind == "rectangle":
        notes.left_out[BOX_REMEDY] += 1
    elif kind in ("line", "linestrip", "point", "points"):
        notes.left_out["points and lines have no area and are left out"] += 1
    else:
        raise ValueError(f"the 'shape_type' {str(kind)[:40]!r} is unknown")
    return None


def _two_points(entry: dict[str, Any]) -> np.ndarray:
    points = entry.get("points")
    if not isinstance(points, list) or len(points) != 2:
        raise ValueError("'points' are two [x, y]")
    return points_of([*points, points[0]])[:2]


def _mask(entry: dict[str, Any], size: tuple[int, int]) -> Segmentation:
    (x, y), _ = _two_points(entry)
    data = entry.get("mask")
    if not isinstance(data, str):
        raise ValueError("'mask' is missing; it is a PNG in base64")
    try:
        decoded = base64.b64decode(data, validate=True)
        with opened("mask", size[0] * size[1], decoded) as image:
            mask = np.array(image.convert("L")) > 0
    except (binascii.Error, ValueError) as error:
        reason = error.reason if isinstance(error, UnreadableFileError) else error
        raise ValueError(f"'mask' is no PNG in base64: {reason}") from error
    return placed(mask, (round(float(x)), round(float(y))), size)
