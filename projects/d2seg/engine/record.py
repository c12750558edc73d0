"""The values that a run records, and ``metrics.json``, across a resume."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.utils.events import EventStorage

_WINDOW = 20  # values of which detectron2's writers take the median


def history(storage: EventStorage, iteration: int) -> dict[str, Any]:
    """The last values of each scalar up to ``iteration``, of which the writers show the median.
    Those after it are of a step that failed, and will be taken again."""
    return {
        name: {
            "values": [[float(value), int(at)] for value, at in buffer.values() if at <= iteration][
                -_WINDOW:
            ],
            "smoothed": bool(storage.smoothing_hints()[name]),
        }
        for name, buffer in storage.histories().items()
    }


def restore_history(storage: EventStorage, saved: Mapping[str, Any]) -> None:
    """Put back what :func:`history` gave, without writing any of it again."""
    for name, scalar in saved.items():
        for value, at in scalar["values"]:
            storage.histories()[name].update(value, at)
        storage.smoothing_hints()[name] = scalar["smoothed"]


def trim_metrics(file: Path, start: int) -> None:
    """Leave one line for each iteration before ``start`` in a ``metrics.json``: those after it are
    of steps that are trained again, and a line that was cut off is of a run that was killed."""
    if not file.is_file():
        return
    lines: dict[int, str] = {}
    content = file.read_text(encoding="utf-8", errors="replace")
    for line in content.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            iteration = json.loads(line)["iteration"]
            if iteration < start:
                lines[iteration] = line
    kept = "".join(f"{line}\n" for line in lines.values())
    if kept != content:
        with file.open("r+", encoding="utf-8") as opened:  # in place: a writer has it open
            opened.write(kept)
            opened.truncate()
