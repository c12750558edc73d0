"""The one reader of JSON files of annotations, with errors that name the file."""

import gc
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager

from ..pictures import refuse_special_file


def read_json(file: str | Path, what: str = "annotations") -> Any:
    """The content of a JSON file in UTF-8, with or without a byte order mark.

    Args:
        what: the file holds, for the message

    Raises:
        ValueError: it is not there, no JSON file, or nested too deep.
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
            return json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        if "set_int_max_str_digits" in reason:  # Python's advice is for programs
            reason = "a number in it has thousands of digits"
        form = " in COCO's format" if what in ("annotations", "categories") else ""
        raise ValueError(f"{file}: not a JSON file{form}: {reason}") from error


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
