"""Reading and writing of the files of records."""

import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

RECORDS = "records"  # folder in that of a data set's predictions
_DIGITS = 5  # of a number that is no count


class RecordError(ValueError):
    """A file that a report is made of is missing or damaged; the message names it."""


def write_record(output_dir: str | Path, name: str, content: dict[str, Any]) -> None:
    """Write ``content`` as the record ``name``; what is not finite becomes null."""
    folder = Path(output_dir) / RECORDS
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_plain(content), separators=(",", ":"), allow_nan=False)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def remove_records(output_dir: str | Path) -> None:
    """Remove what an earlier evaluation, perhaps of other tasks, has left there."""
    for file in (Path(output_dir) / RECORDS).glob("*.json"):
        file.unlink(missing_ok=True)


@contextmanager
def recording(output_dir: str | Path, name: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that writes the record ``name``. What goes wrong on the way is logged in full and
    costs the record alone: the scores of a long evaluation are worth more than its report."""
    try:
        yield lambda content: write_record(output_dir, name, content)
    except Exception:
        logger.exception("%s: the report will lack the task %s", output_dir, name)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        RecordError: it is missing, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise RecordError(f"{path} is damaged ({reason}); evaluate again to write it") from error


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value
