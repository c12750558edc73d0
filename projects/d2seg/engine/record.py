"""The values that a run records, and ``metrics.json``, across a resume."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detectron2.utils import comm
from detectron2.utils.events import EventStorage

if TYPE_CHECKING:
    from .trainer import Trainer

_PERIOD = 20  # iterations between two lines, as detectron2's trainer has it
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


def trim_metrics(file: Path, start: int, due: Mapping[str, Any] | None = None) -> None:
    """Leave one line for each iteration before ``start`` in a ``metrics.json``: those after it are
    of steps that are trained again, and a line that was cut off is of a run that was killed.

    Args:
        due: what a line of the iteration before ``start`` says; written where that is not there,
            since a run that is killed between its save and its record trains that no more.
    """
    lines: dict[int, str] = {}
    content = ""
    if file.is_file():
        content = file.read_text(encoding="utf-8", errors="replace")
    for line in content.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            iteration = json.loads(line)["iteration"]
            if iteration < start:
                lines[iteration] = line
    if due and start - 1 not in lines:
        lines[start - 1] = json.dumps({**due, "iteration": start - 1}, sort_keys=True)
    kept = "".join(f"{line}\n" for line in lines.values())
    if kept != content:
        mode = "r+" if content else "w"  # in place: a writer has it open
        with file.open(mode, encoding="utf-8") as opened:
            opened.write(kept)
            opened.truncate()


def resume_metrics(trainer: "Trainer", saved: Mapping[str, Any]) -> None:
    """Go on with what :func:`history` gave, and with ``metrics.json`` (on the main process)."""
    storage, start = trainer.storage, trainer.start_iter
    restore_history(storage, saved)
    if not start or not comm.is_main_process():
        return
    due = {}
    if start == trainer.max_iter or start % _PERIOD == 0:
        for name, buffer in storage.histories().items():
            if buffer.values() and buffer.values()[-1][1] == start - 1:
                count = storage.count_samples(name, _WINDOW)
                is_smoothed = storage.smoothing_hints()[name]
                due[name] = buffer.median(count) if is_smoothed else buffer.latest()
    trim_metrics(Path(trainer.cfg.OUTPUT_DIR) / "metrics.json", start, due)
