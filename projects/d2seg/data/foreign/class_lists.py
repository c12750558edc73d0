"""The classes of a format: listed in a file, or those that its shapes have."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..faults import Faults
from .content import BACKGROUND, IGNORED, Picture, checked_class, read_lines

_NO_CLASSES = (IGNORED, BACKGROUND)
_MAX_BYTES = 5_000_000


def listed_classes(file: Path) -> list[str] | None:
    """The names of a text file, one a line, without LabelMe's two for no class; None: there is no
    such file.

    Raises:
        ValueError: it cannot be read, or has a name twice or one that cannot be shown.
    """
    if not file.is_file():
        return None
    try:
        names = [checked_class(line) for line in read_lines(file, _MAX_BYTES) if line.strip()]
        return unique(name for name in names if name not in _NO_CLASSES)
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: the classes cannot be read: {error}") from error


def unique(names: Iterable[str]) -> list[str]:
    """``names`` as a list.

    Raises:
        ValueError: one is there twice.
    """
    found = list(names)
    for name, times in Counter(found).items():
        if times > 1:
            raise ValueError(f"the class {name!r} is listed twice; keep one")
    return found


def settled(
    classes: Sequence[str] | None, pictures: list[Picture], faults: Faults, where: str
) -> tuple[list[str], list[Picture]]:
    """The classes, and the pictures with those shapes that have one of them.

    Args:
        classes: None: all that there are, by name
        where: they are listed, for the message
    """
    found = sorted({shape.name for p in pictures for shape in p.shapes} - {*_NO_CLASSES})
    if classes is None:
        return found, pictures
    known = {*classes, *_NO_CLASSES}
    if known.issuperset(found):
        return list(classes), pictures
    kept = []
    for picture in pictures:
        for name in sorted({shape.name for shape in picture.shapes} - known):
            detail = f"the class {name!r} is not in the list of {where}; add it there, or rename it"
            faults.add("class not in the list", detail, str(picture.file))
        shapes = tuple(shape for shape in picture.shapes if shape.name in known)
        kept.append(
            Picture(picture.file, picture.name, picture.split, picture.size, shapes, picture.data)
        )
    return list(classes), kept
