"""The one reader of JSON files of annotations, with errors that name the file."""

import gc
import json
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
    try:
        refuse_special_file(file)
        with PathManager.open(str(file), "rb") as opened:
            data = opened.read()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        shown = reason if str(file) in reason else f"{file}: {reason}"
        raise ValueError(f"the {what} cannot be read: {shown}") from error
    was_enabled = gc.isenabled()
    gc.disable()  # millions of new lists set it off again and again, and none of them is garbage
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        form = " in COCO's format" if what in ("annotations", "categories") else ""
        raise ValueError(f"{file}: not a JSON file{form}: {reason}") from error
    finally:
        if was_enabled:
            gc.enable()
