"""What any of the formats holds: classes, and pictures with shapes.

Shapes: H, W of a picture as it is shown, after EXIF data have turned it.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from ...names import path_inside
from ...pictures import UnreadableFileError, refuse_special_file, shown_size
from ..datasets.declared_text import decoded
from ..faults import Faults, whole_number
from ..json_files import read_json
from ..preparation import run_parallel
from ..segmentations import Segmentation, union

Item = TypeVar("Item")

IGNORED = "__ignore__"  # a shape of no class, which counts for nothing; LabelMe's word
BACKGROUND = "_background_"  # LabelMe's word for what has no class
BOX_REMEDY = "boxes are no masks and left out; --boxes takes them as rectangles"
_MAX_BYTES = 1 << 28  # of a JSON file for one picture
_MAX_TEXT = 1 << 26  # of a text file
DELAY = 5.0  # seconds from which on work has a progress bar
_THREADS = 8
_FIRST = ("train", "val", "test")  # of the splits


@dataclass(frozen=True)
class Shape:
    """One object, or, of label maps, all pixels of a class."""

    name: str
    segmentation: Segmentation


@dataclass(frozen=True)
class Picture:
    """
    Args:
        name: its path below the folder of its split
        shapes: in the order in which they are painted, the uppermost last
        data: the encoded picture, where it is no file of its own
    """

    file: Path
    name: str
    split: str
    size: tuple[int, int]  # (H, W)
    shapes: tuple[Shape, ...]
    data: bytes | None = None


@dataclass
class Content:
    """
    Args:
        classes: in their order, without the background
        remarks: what is left out or may be meant otherwise
    """

    classes: list[str]
    pictures: list[Picture]
    remarks: list[str] = field(default_factory=list)

    @property
    def splits(self) -> list[str]:
        found = dict.fromkeys(picture.split for picture in self.pictures)
        return [*(s for s in _FIRST if s in found), *(s for s in found if s not in _FIRST)]


@dataclass(frozen=True)
class Source:
    """Where annotations are, and how they are taken.

    Args:
        folder: absolute
        images: where the pictures are, if not in ``folder``; absolute
        task: "instance" or "semantic"
        with_boxes: boxes count as rectangular masks
    """

    folder: Path
    images: Path | None = None
    task: str = "instance"
    with_boxes: bool = False

    def roots(self) -> list[Path]:
        return [self.folder, *([] if self.images is None else [self.images])]

    def name_of(self, picture: Path) -> str:
        """The path of a picture below the folder it lies in."""
        for root in reversed(self.roots()):
            if picture.is_relative_to(root):
                return picture.relative_to(root).as_posix()
        return picture.name


@dataclass
class Notes:
    """What is found in one file beside its shapes."""

    file: str
    faults: list[tuple[str, str, str]] = field(default_factory=list)  # kind, file, particulars
    left_out: Counter[str] = field(default_factory=Counter)  # by remark

    def fault(self, kind: str, detail: str, file: str | None = None) -> None:
        self.faults.append((kind, self.file if file is None else file, detail))


def each_shape(
    entries: Sequence[Any], read_one: Callable[[Any], Shape | None], where: str, notes: Notes
) -> Iterator[tuple[Any, Shape]]:
    """The entries of a JSON file that have a mask, with it; a fault of one is noted.

    Args:
        read_one: None for an entry without a mask.
        where: the key of the entries.
    """
    for number, entry in enumerate(entries):
        try:
            found = read_one(entry)
        except ValueError as error:
            notes.fault("unusable annotation", f"{where}[{number}]: {error}")
            continue
        if found is not None:
            yield entry, found


def read_all(
    read_one: Callable[[Item], tuple[Picture | None, Notes]],
    items: Sequence[Item],
    faults: Faults,
    title: str,
) -> tuple[list[Picture], list[str]]:
    """``read_one`` of every item, by threads: the pictures, and remarks on what is left out."""
    workers = min(_THREADS, os.cpu_count() or 1)
    pictures, left_out, first = [], Counter(), {}
    for picture, notes in run_parallel(read_one, items, workers, f"reading {title}", DELAY):
        for kind, file, detail in notes.faults:
            faults.add(kind, detail, "" if file in detail else file)
        left_out.update(notes.left_out)
        for remark in notes.left_out:
            first.setdefault(remark, notes.file)
        if picture is not None:
            pictures.append(picture)
    remarks = [f"{count} {remark} (as in {first[remark]})" for remark, count in left_out.items()]
    return pictures, remarks


def find_picture(source: Source, written: Any, *bases: Path) -> Path:
    """The picture that an annotation names, which lies in ``source`` or its folder of images.

    Args:
        written: its path, which may have the backslashes of Windows
        bases: folders that it may be relative to

    Raises:
        ValueError: it is no path, not there, or elsewhere.
    """
    if not isinstance(written, str) or not written or "\0" in written:
        raise ValueError(f"the picture is named {repr(written)[:50]}, which is no path")
    text = written.replace("\\", "/")
    places = [base / text for base in bases]
    if source.images is not None:
        places += [source.images / text, source.images / PurePosixPath(text).name]
    is_outside = False
    for place in places:
        path = Path(os.path.normpath(place))
        if not any(path.is_relative_to(root) for root in source.roots()):
            is_outside = True
        elif os.path.isfile(path):  # which asks for names that are too long, too
            return path
    if is_outside:
        raise ValueError(
            f"the picture {written[:200]!r} is not in {source.folder}; name its folder with "
            "--images"
        )
    raise ValueError(
        f"there is no picture {written[:200]!r}; put it there, or name its folder with --images"
    )


def size_of(picture: Path, stated: tuple[Any, Any] = (None, None)) -> tuple[int, int]:
    """(H, W) of a picture, decoded in full.

    Args:
        stated: (H, W) that the annotations are of; None is not said

    Raises:
        ValueError: it cannot be read, or has another size than stated, or what is stated is none.
    """
    try:
        height, width, _ = shown_size(str(picture))
    except UnreadableFileError as error:
        raise ValueError(f"the picture cannot be read: {error.reason}") from error
    for value, key in zip(stated, ("height", "width"), strict=True):
        if value is not None:
            whole_number(value, key)
    if None not in stated and stated != (height, width):
        raise ValueError(
            f"the picture {picture.name} is {width}x{height} (width x height), annotated is one of "
            f"{str(stated[1])[:20]}x{str(stated[0])[:20]}; annotate this one, or put that one there"
        )
    return height, width


def read_picture_json(file: Path) -> Any:
    """The content of a JSON file for one picture.

    Raises:
        ValueError: as ``read_json``; or it has more than 256 MiB.
    """
    if file.is_file() and file.stat().st_size > _MAX_BYTES:
        raise ValueError(
            f"{file}: it has more than {_MAX_BYTES} bytes; leave the picture out of it"
        )
    return read_json(file, "annotation")


def read_lines(file: Path, max_bytes: int = _MAX_TEXT) -> list[str]:
    """The lines of a text file in UTF-8, or in UTF-16 with its mark.

    Raises:
        OSError, ValueError: it cannot be read, is a pipe or device, larger, or no text in UTF-8.
    """
    refuse_special_file(file)
    if file.stat().st_size > max_bytes:
        raise ValueError(f"it has more than {max_bytes} bytes")
    return decoded(file.read_bytes()).splitlines()


def grouped(shapes: Sequence[tuple[Any, Shape]], size: tuple[int, int]) -> tuple[Shape, ...]:
    """Shapes of one group and class as one object, in the place of the last of them.

    Args:
        shapes: (group, shape); a group of None or 0 is none
    """
    groups: dict[Any, list[Shape]] = {}
    for number, (group, shape) in enumerate(shapes):
        key = ("group", str(group), shape.name) if group else ("single", number, "")
        groups.setdefault(key, [])
        groups[key] = [*groups.pop(key), shape]
    return tuple(Shape(parts[0].name, _joined(parts, size)) for parts in groups.values())


def _joined(parts: Sequence[Shape], size: tuple[int, int]) -> Segmentation:
    segmentations = [part.segmentation for part in parts]
    if all(isinstance(segmentation, list) for segmentation in segmentations):
        return [polygon for polygons in segmentations for polygon in polygons]
    return union(segmentations, size)


def split_called(text: str) -> str:
    """The split of a part of a data set: its name in letters, digits and underscores."""
    words = re.sub(r"[^0-9A-Za-z]+", "_", text).strip("_").lower()[:50]
    return {"validation": "val", "valid": "val", "default": "train", "": "train"}.get(words, words)


def checked_name(name: str) -> str:
    """The name of a picture, which leads nowhere else than below its folder.

    Raises:
        ValueError: it does.
    """
    path_inside(".", name, "name of a picture")
    return name


def checked_class(name: Any) -> str:
    """The name of a class.

    Raises:
        ValueError: it is no text that can be shown in a line.
    """
    if isinstance(name, int | float) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"the class is {repr(name)[:50]}; it is a name")
    name = name.strip()
    if not name.isprintable() or len(name) > 200:
        raise ValueError(
            f"the class {name[:50]!r} has characters that cannot be printed, or more than 200"
        )
    return name
