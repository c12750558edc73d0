"""CVAT for images 1.1: one XML file for all pictures (docs.cvat.ai, "CVAT for images").

Polygons, ellipses and masks are objects; those of one group and label are one. Boxes are no masks;
points, lines and cuboids have no area. What lies higher (``z_order``) is painted later.
"""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from ...pictures import MAX_PIXELS
from ..faults import Faults
from ..segmentations import Segmentation
from ..xml_files import read_xml
from .class_lists import settled, unique
from .content import (
    BOX_REMEDY,
    Content,
    Notes,
    Picture,
    Shape,
    Source,
    checked_class,
    checked_name,
    find_picture,
    grouped,
    read_all,
    size_of,
    split_called,
)
from .outlines import ellipse, placed, points_of, rectangle, segmentation_of

TITLE = "CVAT"
_WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton")
_NO_SHAPES = ("tag",)
_HEAD = 4096  # bytes that a file's kind is looked for in


def recognises(folder: Path) -> bool:
    return _file_of(folder) is not None


def _file_of(folder: Path) -> Path | None:
    """The XML file whose root is ``annotations``, ``annotations.xml`` first."""
    for file in sorted(folder.glob("*.xml"), key=lambda f: (f.stem != "annotations", f.name)):
        if file.is_file():
            with open(file, "rb") as opened:
                if b"<annotations" in opened.read(_HEAD):
                    return file
    file = folder / "annotations.xml"  # whose fault is told when it is read
    return file if file.is_file() else None


def read(source: Source, faults: Faults) -> Content:
    """
    Raises:
        ValueError: the XML file cannot be read, or is of videos; or a fault, where they are not
            collected.
    """
    file = _file_of(source.folder)
    if file is None:
        raise ValueError(f"{source.folder}: there is no XML file with <annotations>")
    root = read_xml(file)
    if root.tag != "annotations":
        raise ValueError(f"{file}: its root is <{root.tag[:40]}>, not <annotations> of CVAT")
    if root.find("track") is not None:
        raise ValueError(f"{file}: it is 'CVAT for video'; export it as 'CVAT for images 1.1'")
    try:
        labels = root.iterfind("./meta//labels/label/name")
        classes = unique(dict.fromkeys(checked_class(label.text) for label in labels))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    images = root.findall("image")
    if not images:
        raise ValueError(f"{file}: it has no <image>")
    pictures, remarks = read_all(lambda image: _read(image, file, source), images, faults, TITLE)
    where = f"<labels> of {file.name}"
    classes, pictures = settled(classes or None, pictures, faults, where)
    return Content(classes, pictures, remarks)


def _read(image: Element, file: Path, source: Source) -> tuple[Picture | None, Notes]:
    name, subset = image.get("name"), image.get("subset", "")
    notes = Notes(f"{file}, image {name!r}")
    try:
        bases = [source.folder / "images", source.folder / "images" / subset, source.folder]
        picture = find_picture(source, name, *bases)
        stated = tuple(
            _whole(image, key) if image.get(key) else None for key in ("height", "width")
        )
        size = size_of(picture, stated)
        checked_name(name.replace("\\", "/"))
    except ValueError as error:
        notes.fault("missing picture", str(error))
        return None, notes
    shapes = []
    for number, element in enumerate(image):
        try:
            found = _shape(element, size, source, notes)
            order = _whole(element, "z_order") if element.get("z_order") else 0
        except ValueError as error:
            notes.fault("unusable annotation", f"shape {number}, <{element.tag[:40]}>: {error}")
            continue
        if found is not None:
            group = element.get("group_id", "0")
            shapes.append((order, None if group == "0" else group, found))
    shapes.sort(key=lambda entry: entry[0])
    of_groups = grouped([entry[1:] for entry in shapes], size)
    split = split_called(subset)
    return Picture(picture, name.replace("\\", "/"), split, size, of_groups), notes


def _shape(element: Element, size: tuple[int, int], source: Source, notes: Notes) -> Shape | None:
    """None: it has no area, which ``notes`` then count."""
    if element.tag in _NO_SHAPES:
        return None
    if element.tag in _WITHOUT_AREA:
        notes.left_out["points, lines, skeletons and cuboids are no masks and left out"] += 1
        return None
    if element.tag == "box" and not source.with_boxes:
        notes.left_out[BOX_REMEDY] += 1
        return None
    name = checked_class(element.get("label"))
    if element.tag == "mask":
        return Shape(name, _mask(element, size))
    if element.tag == "polygon":
        outline = points_of([list(pair) for pair in _pairs(element.get("points", ""))])
    elif element.tag == "box":
        outline = _turned(
            rectangle(*(_number(element, k) for k in ("xtl", "ytl", "xbr", "ybr"))), element
        )
    elif element.tag == "ellipse":
        x, y, rx, ry = (_number(element, key) for key in ("cx", "cy", "rx", "ry"))
        outline = ellipse((x, y), (rx, ry), _number(element, "rotation", 0))
    else:
        raise ValueError("it is unknown")
    return Shape(name, segmentation_of(outline, size))


def _turned(corners: np.ndarray, element: Element) -> np.ndarray:
    """A box around its centre, clockwise by the degrees of ``rotation``."""
    angle = np.radians(_number(element, "rotation", 0))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    center = corners.mean(axis=0)
    return (corners - center) @ turn + center


def _pairs(text: str) -> Iterator[tuple[float, float]]:
    for part in text.split(";"):
        x, _, y = part.partition(",")
        try:
            yield float(x), float(y)
        except ValueError as error:
            raise ValueError(f"'points' has {part[:30]!r}; it is x,y;x,y;...") from error


def _number(element: Element, key: str, default: float | None = None) -> float:
    text = element.get(key)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError as error:
        raise ValueError(f"'{key}' is {str(text)[:30]!r}; it is a number") from error
    if not -1e7 < value < 1e7:  # so that NaN is wrong, too
        raise ValueError(f"'{key}' is {value:g}, which is far outside of any picture")
    return value


def _whole(element: Element, key: str) -> int:
    value = _number(element, key)
    if not value.is_integer():
        raise ValueError(f"'{key}' is {value:g}; it is a whole number")
    return int(value)


def _mask(element: Element, size: tuple[int, int]) -> Segmentation:
    """Runs of background and mask in turn, row by row in its box."""
    left, top, width, height = (_whole(element, k) for k in ("left", "top", "width", "height"))
    try:
        runs = np.array([int(text) for text in element.get("rle", "").split(",")], np.int64)
    except (ValueError, OverflowError) as error:
        raise ValueError("'rle' is no list of whole numbers") from error
    is_fitting = width > 0 and height > 0 and width * height <= MAX_PIXELS
    if not is_fitting or runs.min() < 0 or runs.max() > MAX_PIXELS or runs.sum() != width * height:
        raise ValueError(f"the runs of 'rle' do not make its box of {width}x{height} pixels")
    mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return placed(mask, (left, top), size)
