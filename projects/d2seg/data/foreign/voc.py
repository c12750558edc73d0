"""Pascal VOC: PNGs of classes and of objects in palette colours (host.robots.ox.ac.uk/pascal/VOC).

``SegmentationClass`` numbers classes, 0 is background, 255 is not annotated; ``SegmentationObject``
numbers objects, whose class is that of their pixels; ``ImageSets/Segmentation`` lists the splits.
The classes are VOC's twenty, or those of ``labelmap.txt`` (CVAT, Datumaro) or ``class_names.txt``
(LabelMe). PNGs in colours are read with the colours of ``labelmap.txt``, or with VOC's.

Shapes: H, W of a picture.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...names import path_inside
from ...pictures import UnreadableFileError, opened
from ..datasets.loaders import IMAGE_SUFFIXES, files_below
from ..faults import Faults
from ..id_runs import rles_of
from ..label_maps import read_values
from .class_lists import listed_classes, unique
from .content import (
    IGNORED,
    Content,
    Notes,
    Picture,
    Shape,
    Source,
    checked_class,
    read_all,
    read_lines,
    size_of,
)

TITLE = "Pascal VOC"
_CLASSES, _OBJECTS, _PICTURES = "SegmentationClass", "SegmentationObject", "JPEGImages"
_SPLITS = ("train", "val", "test")
_IGNORE = 255
_LONGEST_NAME = 250
_IGNORE_COLOR = (224, 224, 192)  # of VOC's palette
_VOC = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
_BACKGROUNDS = ("background", "_background_")


@dataclass(frozen=True)
class _Labels:
    """
    Args:
        names: by value; None: background, or not annotated
        colors: {R 65536 + G 256 + B: value}; empty: none are known
    """

    names: dict[int, str | None]
    colors: dict[int, int]


def recognises(folder: Path) -> bool:
    return _root_of(folder) is not None


def _root_of(folder: Path) -> Path | None:
    """The folder that has ``SegmentationClass``, which may be ``VOC2012`` in ``VOCdevkit``."""
    places = [folder, *sorted(folder.glob("VOC*")), *sorted(folder.glob("VOCdevkit/VOC*"))]
    return next((place for place in places if (place / _CLASSES).is_dir()), None)


def has_objects(folder: Path) -> bool:
    root = _root_of(folder)
    return root is not None and (root / _OBJECTS).is_dir()


def read(source: Source, faults: Faults) -> Content:
    """
    Raises:
        ValueError: the folders or lists are not there or cannot be read; or a fault, where they are
            not collected.
    """
    root = _root_of(source.folder)
    if root is None:
        raise ValueError(f"{source.folder}: there is no folder {_CLASSES}")
    if source.task == "instance" and not (root / _OBJECTS).is_dir():
        raise ValueError(f"{root}: there is no folder {_OBJECTS}; choose --task semantic")
    labels = _read_labels(root)
    items = _listed(root, faults)
    pictures, remarks = read_all(
        lambda item: _read(*item, root, labels, source), items, faults, TITLE
    )
    return Content([name for name in labels.names.values() if name], pictures, remarks)


def _read_labels(root: Path) -> _Labels:
    file = root / "labelmap.txt"
    if file.is_file():
        return _of_labelmap(file)
    names = listed_classes(root / "class_names.txt") or listed_classes(root / "classes.txt") or _VOC
    names = [name for name in names if name not in _BACKGROUNDS]
    values = {0: None, **dict(enumerate(names, start=1)), _IGNORE: None}
    if len(names) >= _IGNORE:
        raise ValueError(
            f"{root}: {len(names)} classes; PNGs of 8 bits number fewer than {_IGNORE}"
        )
    return _Labels(values, {_code(color): value for value, color in enumerate(_palette())})


def _of_labelmap(file: Path) -> _Labels:
    """Lines ``name:R,G,B:parts:actions``, in the order of the values."""
    names: dict[int, str | None] = {}
    colors: dict[int, int] = {}
    try:
        lines = read_lines(file)
        for line in (line for line in lines if line.strip() and not line.startswith("#")):
            name, _, rest = line.partition(":")
            value = len(names)
            names[value] = None if name.strip() in _BACKGROUNDS else checked_class(name)
            color = rest.split(":")[0].strip()
            if color and colors.setdefault(_code(_levels(name, color)), value) != value:
                raise ValueError(f"the colour of {name!r} is {color}, that of another class, too")
        unique(name for name in names.values() if name)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: the classes cannot be read: {error}") from error
    if not any(names.values()) or len(names) > _IGNORE:
        raise ValueError(f"{file}: it lists {len(names)} classes; there are 1 to {_IGNORE}")
    return _Labels({_IGNORE: None, **names}, {_code(_IGNORE_COLOR): _IGNORE} | colors)


def _levels(name: str, color: str) -> list[int]:
    parts = [part.strip() for part in color.split(",")]
    if len(parts) != 3 or not all(p.isdecimal() and len(p) < 4 and int(p) < 256 for p in parts):
        raise ValueError(f"the colour of {name!r} is {color[:40]!r}; it is R,G,B, each 0 to 255")
    return [int(part) for part in parts]


def _code(color: Sequence[int]) -> int:
    red, green, blue = color
    return int(red) << 16 | int(green) << 8 | int(blue)


def _palette() -> list[tuple[int, int, int]]:
    """VOC's colour of each value: bits 0, 3, 6 make red from the highest bit on, and so forth."""
    colors = []
    for value in range(256):
        channels = [
            sum(((value >> 3 * bit + channel) & 1) << (7 - bit) for bit in range(8))
            for channel in range(3)
        ]
        colors.append(tuple(channels))
    return colors


def _listed(root: Path, faults: Faults) -> list[tuple[str, str]]:
    """(name, split) of the pictures; all of ``SegmentationClass`` where no list says it."""
    folder = root / "ImageSets" / "Segmentation"
    files = [folder / f"{split}.txt" for split in _SPLITS]
    files = [file for file in files if file.is_file()] or sorted(folder.glob("*.txt"))[:1]
    found: dict[str, str] = {}
    for file in files:
        try:
            lines = read_lines(file)
        except (OSError, ValueError) as error:
            raise ValueError(f"{file}: the list of pictures cannot be read: {error}") from error
        split = file.stem if file.stem in _SPLITS else "train"
        for number, name in enumerate(map(str.strip, lines), start=1):
            try:
                if len(name) > _LONGEST_NAME:
                    raise ValueError(f"{name[:50]!r}... is longer than a file's name")
                if name:
                    path_inside(root, name, "name")
            except ValueError as error:
                faults.add("missing picture", f"line {number}: {error}", str(file))
                continue
            has_labels = split != "test" or os.path.isfile(root / _CLASSES / f"{name}.png")
            if name and has_labels:
                found.setdefault(name, split)
    if not files:
        labels = sorted(files_below(root / _CLASSES, (".png",)))
        stems = (Path(f).relative_to(root / _CLASSES).with_suffix("").as_posix() for f in labels)
        found = dict.fromkeys(stems, "train")
    return list(found.items())


def _read(
    name: str, split: str, root: Path, labels: _Labels, source: Source
) -> tuple[Picture | None, Notes]:
    file = root / _CLASSES / f"{name}.png"
    notes = Notes(str(file))
    folders = [root / _PICTURES, *([] if source.images is None else [source.images])]
    tries = [folder / f"{name}{suffix}" for folder in folders for suffix in IMAGE_SUFFIXES]
    picture = next((path for path in tries if os.path.isfile(path)), None)
    if picture is None:
        detail = f"there is no {tries[0]}; put it there, or name its folder with --images"
        notes.fault("missing picture", detail)
        return None, notes
    try:
        size = size_of(picture)
        classes = _values(file, size, labels.colors)
        if source.task == "semantic":
            shapes = _of_classes(classes, labels, notes)
        else:
            objects_file = root / _OBJECTS / f"{name}.png"
            objects = _values(objects_file, size, None)
            shapes = _of_objects(objects, classes, labels, notes, str(objects_file))
    except ValueError as error:
        notes.fault("unreadable label map", str(error))
        return None, notes
    return Picture(picture, f"{name}{picture.suffix}", split, size, shapes), notes


def _values(file: Path, size: tuple[int, int], colors: dict[int, int] | None) -> np.ndarray:
    """(H, W) values of a PNG of ``size``, a palette's indices or those of its colours.

    Args:
        colors: by code; None: every colour is a value of its own, black is 0 and VOC's colour of
            borders 255
    """
    try:
        with opened(file) as image:
            is_colored = image.mode in ("RGB", "RGBA")
            pixels = np.array(image.convert("RGB")) if is_colored else None
    except UnreadableFileError as error:
        raise ValueError(f"{file}: the label map cannot be read: {error.reason}") from error
    values = read_values(file) if pixels is None else _of_colors(pixels, colors, file)
    if values.shape != size:
        raise ValueError(
            f"{file}: the label map is {values.shape[1]}x{values.shape[0]} (width x height), its "
            f"picture {size[1]}x{size[0]}"
        )
    return values


def _of_colors(pixels: np.ndarray, colors: dict[int, int] | None, file: Path) -> np.ndarray:
    codes = pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    present, places = np.unique(codes, return_inverse=True)
    if colors is None:
        numbers = np.arange(_IGNORE + 1, _IGNORE + 1 + len(present))
        numbers[present == 0] = 0
        numbers[present == _code(_IGNORE_COLOR)] = _IGNORE
        return numbers[places.reshape(codes.shape)]
    unknown = [code for code in present.tolist() if code not in colors]
    if unknown:
        shown = [unknown[0] >> 16, unknown[0] >> 8 & 255, unknown[0] & 255]
        raise ValueError(
            f"{file}: {len(unknown)} colours are of no class, as {shown}; labelmap.txt lists them "
            "as name:R,G,B::"
        )
    return np.array([colors[code] for code in present.tolist()])[places.reshape(codes.shape)]


def _of_classes(values: np.ndarray, labels: _Labels, notes: Notes) -> tuple[Shape, ...]:
    """All pixels of each class, and what is not annotated."""
    shapes = []
    for value, rle in rles_of(values).items():
        if value == _IGNORE:
            shapes.append(Shape(IGNORED, rle))
        elif value not in labels.names:
            known = sum(name is not None for name in labels.names.values())
            detail = f"the value {value} is none of the {known} classes; labelmap.txt lists others"
            notes.fault("class not in the list", detail)
        elif labels.names[value]:
            shapes.append(Shape(labels.names[value], rle))
    return tuple(shapes)


def _of_objects(
    objects: np.ndarray, classes: np.ndarray, labels: _Labels, notes: Notes, file: str
) -> tuple[Shape, ...]:
    """Each object with the class that all of its pixels have that have one."""
    shapes = []
    for number, rle in rles_of(objects).items():
        if number == _IGNORE:
            continue
        present = np.unique(classes[objects == number]).tolist()
        found = [value for value in present if value not in (0, _IGNORE)]
        names = [labels.names.get(value) for value in found]
        if len(found) == 1 and names[0]:
            shapes.append(Shape(names[0], rle))
            continue
        what = f"the values {found[:5]}" if found else "no class"
        detail = f"object {number} has {what} in {_CLASSES}; it has one of the listed classes"
        notes.fault("unusable annotation", detail, file)
    return tuple(shapes)
