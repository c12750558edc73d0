"""Which class the objects of instance-id maps have: what a declaration says of ``labels`` of task
instance (docs/own_data.md).

An *id* is a pixel value of a label map; 0 is background.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...pictures import refuse_special_file
from ..label_values import OTHER
from .declared_text import encoding_of

_COLUMNS = ("image", "id", "class")
_OBJECTS = ("ids", "parts")
_MAX_ID = (1 << 32) - 1
_MAX_BYTES = 1_000_000_000  # of a table
Table = dict[str, dict[int, int]]


@dataclass(frozen=True)
class ObjectIds:
    """The class of each id.

    Args:
        class_names: in the order of the model's classes
        classes: (id, class) of those that the declaration lists
        other: class of all other ids; None: another id is an error, unless a table has it
        ignore_label: an id that is no object
        is_parts: each connected part of an id is an object of its own
    """

    class_names: tuple[str, ...]
    classes: tuple[tuple[int, int], ...]
    other: int | None
    ignore_label: int | None
    is_parts: bool


def parse_object_ids(content: Mapping[str, Any], class_names: Sequence[str]) -> ObjectIds:
    """Read the keys ``values``, ``objects`` and ``ignore_label`` of a declaration of task instance.

    Raises:
        ValueError: they do not have the form that docs/own_data.md shows.
    """
    if content.get("nearest_value"):
        raise ValueError(
            "'nearest_value' is for task semantic; masks whose values JPEG has changed number no "
            "objects, so save them as PNG"
        )
    objects = content.get("objects", "ids")
    if objects not in _OBJECTS:
        raise ValueError(
            f"'objects' is {objects!r}; it is ids (each value is an object) or parts (each "
            "connected part of a value is one)"
        )
    ignore_label = content.get("ignore_label")
    if ignore_label is not None and not _is_id(ignore_label):
        raise ValueError(f"ignore_label is {ignore_label!r}; it is the value of no object, as 255")
    listed, other = _listed(content.get("values"), class_names)
    if ignore_label in listed:
        raise ValueError(f"ignore_label {ignore_label} is listed under 'values', too; drop either")
    if content.get("values") is None and len(class_names) == 1:
        other = 0
    return ObjectIds(
        tuple(class_names), tuple(sorted(listed.items())), other, ignore_label, objects == "parts"
    )


def _listed(values: Any, class_names: Sequence[str]) -> tuple[dict[int, int], int | None]:
    if values is None:
        return {}, None
    if not isinstance(values, Mapping) or not values:
        raise ValueError("'values' has the form {1: cat, 2: dog, other: cow}: a class for each id")
    listed: dict[int, int] = {}
    other = None
    for key, name in values.items():
        if name not in class_names:
            raise ValueError(
                f"'values' maps {key} to {name!r}, which is not among the classes "
                f"{', '.join(class_names)}"
            )
        number = int(key) if isinstance(key, str) and key.isdecimal() else key
        if key == OTHER:
            other = list(class_names).index(name)
        elif number in listed:
            raise ValueError(f"'values' lists {number} twice, once as {key!r}; keep one")
        elif _is_id(number):
            listed[number] = list(class_names).index(name)
        else:
            raise ValueError(
                f"'values' has the key {key!r}; it is an id, from 1 on, or 'other' (0 is the "
                "background of instances, which is no class)"
            )
    return listed, other


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 < value <= _MAX_ID


def read_table(file: str | Path, class_names: Sequence[str]) -> Table:
    """{stem of an image: {id: class}} of a CSV file with the columns image, id and class.

    Args:
        class_names: those that the column "class" may hold

    Raises:
        ValueError: it cannot be read, or a line is wrong; the message has file, line and value.
    """
    classes = {name: number for number, name in enumerate(class_names)}
    found: Table = {}
    try:
        refuse_special_file(file)
        if Path(file).stat().st_size > _MAX_BYTES:
            raise ValueError(f"a table has at most {_MAX_BYTES} bytes")
        with open(file, "rb") as opened:
            encoding = encoding_of(opened.read(2))
        with open(file, encoding=encoding, newline="") as opened:
            rows = csv.reader(opened)
            header = [name.strip() for name in next(rows, [])]
            if sorted(header) != sorted(_COLUMNS):
                raise ValueError(f"its first line is {','.join(_COLUMNS)}")
            for row in rows:
                if row:
                    _add_row(found, dict(zip(header, row, strict=False)), classes)
    except (csv.Error, _RowError) as error:
        raise ValueError(f"{file}, line {rows.line_num}: {error}") from error
    except (OSError, ValueError) as error:
        remedy = "; save it in UTF-8" if isinstance(error, UnicodeError) else ""
        raise ValueError(f"the table of objects cannot be read: {file}: {error}{remedy}") from error
    return found


class _RowError(Exception):
    """What is wrong with a line."""


def _add_row(table: Table, row: dict[str, str], classes: Mapping[str, int]) -> None:
    if len(row) < len(_COLUMNS):
        raise _RowError(f"it has {len(row)} values, not {len(_COLUMNS)}")
    image, text, name = (row[key].strip() for key in _COLUMNS)
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else 0
    if not _is_id(number):
        raise _RowError(f"the id is {text!r}; it is a whole number from 1 on")
    if name not in classes:
        known = ", ".join(list(classes)[:10])
        raise _RowError(f"the class {name!r} is not among the declared ones ({known})")
    if table.setdefault(image, {}).setdefault(number, classes[name]) != classes[name]:
        raise _RowError(f"the id {number} of {image} has two classes; keep one")
