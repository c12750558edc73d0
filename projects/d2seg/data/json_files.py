"""The one reader of JSON files of annotations, with errors that name the file."""

import codecs
import gc
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager

from ..checkpoint.shown import brief
from ..pictures import refuse_special_file

_HOLDERS = {str, list, dict}  # of colons


def read_json(file: str | Path, what: str = "annotations") -> Any:
    """The content of a JSON file in UTF-8, with or without a byte order mark.

    Args:
        what: the file holds, for the message

    Raises:
        ValueError: it is not there, no JSON file, or nested too deep; or a key stands twice in an
            object, of which JSON's readers keep the last.
    """
    if os.path.isdir(file):
        raise ValueError(
            f"the {what} cannot be read: {file} is a folder; name one JSON file. A folder of PNGs "
            "that number objects (0 for none, 1, 2, ...) is declared as 'labels' instead of "
            "'annotations' (docs/own_data.md)"
        )
    try:
        refuse_special_file(file)
        with PathManager.open(str(file), "rb") as opened:
            data = opened.read()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        shown = reason if str(file) in reason else f"{file}: {reason}"
        raise ValueError(f"the {what} cannot be read: {shown}") from error
    try:
        with no_garbage():
            content = json.loads(data)
            if _may_hold_twice(data, content):
                json.loads(data, object_pairs_hook=once_each)
            return content
    except (ValueError, RecursionError) as error:
        reason = _reason(error, data)
        form = " in COCO's format" if what in ("annotations", "categories") else ""
        raise ValueError(f"{file}: not a JSON file{form}: {reason}") from error


def _reason(error: Exception, data: bytes) -> str:
    """Why ``data`` are no JSON, in one line with a remedy where one is known."""
    start = data[:100].removeprefix(codecs.BOM_UTF8).lstrip()
    if not start:
        return "it is empty"
    if data.startswith((b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ")):
        return "it is compressed; unpack it, and name the file in it"
    if start[:9].lower().startswith((b"<!doctype", b"<html")):
        return "it is a web page, so the download went wrong"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is no UTF-8; save it as UTF-8"
    reason = " ".join(str(error).split())
    if "set_int_max_str_digits" in reason:  # Python's advice is for programs
        return "a number in it has thousands of digits"
    if reason.startswith("Extra data: line"):
        return f"{reason}; it holds one JSON value, not one in each line"
    return reason


def _may_hold_twice(data: bytes, content: Any) -> bool:
    """Whether a key of some object may stand twice: what was read of it explains other than as many
    colons as there are. To hand every pair of a file to :func:`once_each` takes half of the
    reading's time again, to count colons next to none."""
    num_colons = data.count(b":")
    if isinstance(content, dict) and num_colons == _colons_of(content, _colons_of_annotations):
        return False
    return num_colons != _colons_of(content)


def _colons_of(value: Any, of_annotations: Callable[[Any], int] | None = None) -> int:
    """Colons in the JSON text of ``value``: one behind each key, and those within texts.

    Args:
        of_annotations: counts those of the value of 'annotations', by far the longest list of
            COCO's files; None: they are counted as all others
    """
    if isinstance(value, str):
        return value.count(":")
    if isinstance(value, list):
        if value and type(value[0]) in (int, float):  # coordinates
            return 0
        return sum(_colons_of(part) for part in value if type(part) in _HOLDERS)
    if not isinstance(value, dict):
        return 0
    total = len(value)
    for key, part in value.items():
        if type(part) in _HOLDERS:
            count = of_annotations if of_annotations and key == "annotations" else _colons_of
            total += count(part)
    return total


def _colons_of_annotations(entries: Any) -> int:
    """As :func:`_colons_of`, where no entry has texts, or other objects than COCO's format has."""
    if not isinstance(entries, list) or not {dict}.issuperset(map(type, entries)):
        return _colons_of(entries)
    runs = (entry.get("segmentation") for entry in entries)
    total = sum(map(len, entries)) + sum(len(run) for run in runs if type(run) is dict)
    of_segments = [entry["segments_info"] for entry in entries if "segments_info" in entry]
    if of_segments:
        names = (entry.get("file_name") for entry in entries)
        total += _colons_of_segments(of_segments) + sum(map(_colons_of, names))
    return total


def _colons_of_segments(lists: list[Any]) -> int:
    """As :func:`_colons_of`, where segments hold numbers and boxes alone."""
    if not {list}.issuperset(map(type, lists)):
        return _colons_of(lists)
    if not {dict}.issuperset(map(type, chain.from_iterable(lists))):
        return _colons_of(lists)
    return sum(map(len, chain.from_iterable(lists)))


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The dict of a JSON object, for ``object_pairs_hook``.

    Raises:
        ValueError: a key stands twice.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in content if keys.count(key) > 1)
        of = f" beside 'id': {brief(content['id'])}" if "id" in content and twice != "id" else ""
        raise ValueError(f"the key '{brief(twice)}' stands twice{of}")
    return content


@contextmanager
def no_garbage() -> Iterator[None]:
    """Leave Python's collector of garbage off: millions of new lists and dicts set it off again and
    again, and none of them is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
