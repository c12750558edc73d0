"""YOLO: ``data.yaml`` and a text file of relative polygons for each picture (docs.ultralytics.com).

A line is the number of a class and x, y of each corner, in parts of width and height. The text file
of ``images/train/a.jpg`` is ``labels/train/a.txt``; below ``data.yaml`` it may also be
``labels/a.txt``, and beside its picture. Lines of five numbers are boxes.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.declared_text import read_yaml
from ..datasets.loaders import IMAGE_SUFFIXES, files_below
from ..faults import Faults
from .class_lists import unique
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
    read_all,
    read_lines,
    size_of,
)
from .outlines import rectangle, segmentation_of

TITLE = "YOLO"
_SPLITS = ("train", "val", "test")
_SLACK = 1e-3  # by which rounded coordinates may leave 0..1
_CLASSES = "classes.txt"  # as labelImg writes it beside them
_NO_FILE = "pictures have no file of labels and count as without an object"


def recognises(folder: Path) -> bool:
    return _yaml_of(folder) is not None


def _yaml_of(folder: Path) -> Path | None:
    """The file with ``names`` and a split, ``data.yaml`` first."""
    files = sorted(folder.glob("*.y*ml"), key=lambda f: (f.stem != "data", f.name))
    for file in files:
        try:
            _, content = read_yaml(file)
        except ValueError:
            continue
        if isinstance(content, dict) and "names" in content and {*_SPLITS} & content.keys():
            return file
    broken = folder / "data.yaml"  # whose fault is told when it is read
    return broken if broken.is_file() and (folder / "labels").is_dir() else None


def read(source: Source, faults: Faults) -> Content:
    """
    Raises:
        ValueError: ``data.yaml`` cannot be used; or a fault, where they are not collected.
    """
    file = _yaml_of(source.folder)
    if file is None:
        raise ValueError(f"{source.folder}: there is no data.yaml with 'names' and 'train'")
    _, content = read_yaml(file)  # as it is written: a class 'no' is a name
    try:
        if not isinstance(content, dict):
            raise ValueError("it is no list of 'key: value'")
        classes = _classes(content)
        items: list[tuple[Path, str, str]] = []
        seen: dict[Path, str] = {}
        for split in _SPLITS:
            for picture, name in _pictures(content, split, file, source, faults):
                if seen.setdefault(picture, split) == split:
                    items.append((picture, name, split))
    except (OSError, ValueError) as error:
        raise ValueError(str(error) if str(file) in str(error) else f"{file}: {error}") from error
    if not items and not faults.problems:
        raise ValueError(f"{file}: none of its splits has a picture; see 'path', 'train' and 'val'")
    pictures, remarks = read_all(
        lambda item: _read(*item, classes, file, source), items, faults, TITLE
    )
    return Content(classes, pictures, remarks + _without_picture(items, file))


def _without_picture(items: Sequence[tuple[Path, str, str]], file: Path) -> list[str]:
    """Says how many files of labels stand beside those of pictures, and are of none: it is missing,
    or of a format that is not read."""
    used = {found for picture, name, _ in items if (found := _labels_of(picture, name, file))}
    folders = {labels.parent for labels in used if "labels" in labels.parts}
    unused = [
        labels
        for folder in sorted(folders)
        for labels in sorted(folder.glob("*.txt"))
        if labels not in used and labels.name != _CLASSES
    ]
    return [f"{len(unused)} files of labels have no picture (as {unused[0]})"] if unused else []


def _classes(content: dict[str, Any]) -> list[str]:
    names = content.get("names")
    if isinstance(names, dict):
        if sorted(names) != sorted(map(str, range(len(names)))):
            raise ValueError("the keys of 'names' are 0, 1, 2, ..., each once")
        names = [names[str(number)] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise ValueError("'names' is missing: the list of the classes")
    if "nc" in content and content["nc"] != str(len(names)):
        raise ValueError(f"'nc' is {str(content['nc'])[:20]}, but 'names' has {len(names)} classes")
    return unique(map(checked_class, names))


def _pictures(
    content: dict[str, Any], split: str, file: Path, source: Source, faults: Faults
) -> Iterator[tuple[Path, str]]:
    """The pictures of a split, each with its name in it."""
    places = content.get(split) or []
    for place in [places] if isinstance(places, str) else places:
        if not isinstance(place, str):
            raise ValueError(f"'{split}' is a folder, a list of them, or a text file of pictures")
        bases = [file.parent / str(content.get("path") or "."), file.parent]
        try:
            found = _place(place, split, bases, source)
        except ValueError as error:
            faults.add("missing folder", str(error), str(file))
            continue
        if found.is_dir():
            for picture in sorted(files_below(found, IMAGE_SUFFIXES)):
                yield Path(picture), Path(picture).relative_to(found).as_posix()
            continue
        try:
            lines = read_lines(found)
        except (OSError, ValueError) as error:
            faults.add("missing folder", f"the list {found} cannot be read: {error}", str(file))
            continue
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                picture = find_picture(source, line.strip(), found.parent, *bases)
            except ValueError as error:
                faults.add("missing picture", f"line {number}: {error}", str(found))
                continue
            yield picture, source.name_of(picture)


def _place(place: str, split: str, bases: list[Path], source: Source) -> Path:
    """The folder or text file of a split.

    Roboflow writes ``../train/images`` and means a folder beside the file; ``path`` may be that of
    another machine.
    """
    text = place.replace("\\", "/")
    tries = [base / text for base in bases]
    tries += [base / text.removeprefix("../") for base in bases]
    if source.images is not None:
        tries += [source.images / text, source.images]
    paths = [Path(os.path.normpath(path)) for path in tries]
    there = [path for path in paths if os.path.exists(path)]
    inside = [p for p in there if any(p.is_relative_to(root) for root in source.roots())]
    if inside and (inside[0] == there[0] or there[0] != paths[0]):  # not past the one it says
        return inside[0]
    if there:
        raise ValueError(
            f"'{split}' is {place!r}, which leads out of {source.folder}; name the folder of the "
            f"pictures with --images, as {there[0]}"
        )
    raise ValueError(f"'{split}' is {place!r}: there is no {paths[0]}; correct it, or use --images")


def _labels_of(picture: Path, name: str, file: Path) -> Path | None:
    """The text file of a picture; None: there is none."""
    before, images, behind = str(picture).rpartition(f"{os.sep}images{os.sep}")
    tries = [Path(f"{before}{os.sep}labels{os.sep}{behind}")] if images else []
    tries += [file.parent / "labels" / name, picture]
    return next(
        (t.with_suffix(".txt") for t in tries if os.path.lexists(t.with_suffix(".txt"))), None
    )


def _read(
    picture: Path, name: str, split: str, classes: list[str], file: Path, source: Source
) -> tuple[Picture | None, Notes]:
    labels = _labels_of(picture, name, file)
    notes = Notes(str(labels or picture))
    try:
        size = size_of(picture)
        checked_name(name)
    except ValueError as error:
        notes.fault("unreadable picture", str(error), str(picture))
        return None, notes
    if labels is None:
        notes.left_out[_NO_FILE] += 1
        return Picture(picture, name, split, size, ()), notes
    try:
        lines = read_lines(labels)
    except (OSError, ValueError) as error:
        notes.fault("unreadable annotation", f"the labels cannot be read: {error}")
        return None, notes
    shapes = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            shape = _shape(line.split(), classes, size, source, notes)
        except ValueError as error:
            notes.fault("unusable annotation", f"line {number}: {error}")
            continue
        if shape is not None:
            shapes.append(shape)
    return Picture(picture, name, split, size, tuple(shapes)), notes


def _shape(
    words: list[str], classes: list[str], size: tuple[int, int], source: Source, notes: Notes
) -> Shape | None:
    """None: it is a box, which ``notes`` then count."""
    number = words[0]
    if not (number.isascii() and number.isdecimal() and len(number) < 7):
        raise ValueError(f"the class is {number[:20]!r}; it is a number from 0 on")
    if int(number) >= len(classes):
        raise ValueError(
            f"the class {number} is not in 'names', which has 0 to {len(classes) - 1}; add it there"
        )
    try:
        values = np.array(words[1:], np.float64)
    except ValueError as error:
        raise ValueError(f"a coordinate is no number: {error}") from error
    wrong = ~((values >= -_SLACK) & (values <= 1 + _SLACK))  # so that NaN is wrong, too
    if wrong.any():
        raise ValueError(
            f"a coordinate is {values[wrong][0]:g}; they are parts of width and height, 0 to 1"
        )
    values = np.clip(values, 0, 1)
    height, width = size
    if len(values) == 4:
        if not source.with_boxes:
            notes.left_out[BOX_REMEDY] += 1
            return None
        x, y, w, h = values * (width, height, width, height)
        outline = rectangle(x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    elif len(values) < 6 or len(values) % 2:
        raise ValueError(f"it has {len(values)} coordinates; a polygon has x and y of 3 points on")
    else:
        outline = values.reshape(-1, 2) * (width, height)
    return Shape(classes[int(number)], segmentation_of(outline, size))
