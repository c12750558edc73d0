"""Two reports of ``tools/benchmark.py``, row by row. It says what differs and judges nothing."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PEERS = ("transformers", "plain")
SLACK = 0.05  # of a figure; no more is told apart on a shared machine
_KEYS = ("what", "model", "task", "dtype", "device")


def read_report(path: str) -> dict[str, Any]:
    """A report that ``--json`` wrote.

    Raises:
        ValueError: it cannot be read, or is none; in one line that names the file.
    """
    try:
        report = json.loads(Path(path).read_text())
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; name a file that --json wrote") from error
    except ValueError as error:  # of JSON, and of what is no text
        raise ValueError(f"{path} is no JSON; name a file that --json wrote") from error
    rows = report.get("rows") if isinstance(report, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path} has no rows; name a file that --json wrote")
    for number, row in enumerate(rows):
        if not _is_row(row):
            raise ValueError(f"{path}: row {number} is none that --json writes; measure it again")
    return report


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in _KEYS):
        return False
    sides = [row.get("ours"), *(row[peer] for peer in PEERS if peer in row)]
    return all(
        isinstance(side, dict)
        and _is_positive(side.get("ms"))
        and (side.get("peak_mib", 0) is None or _is_positive(side.get("peak_mib")))
        for side in sides
    )


def _is_positive(number: Any) -> bool:
    is_number = isinstance(number, int | float) and not isinstance(number, bool)
    return is_number and math.isfinite(number) and number > 0


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Lines: first the regressions, then what is better, and what only one of the reports has.

    Times are compared in the peer's, which both runs measured by turns with d2seg's, since machines
    differ from hour to hour; without a peer in milliseconds.
    """
    old_rows, new_rows = (
        {tuple(row[key] for key in _KEYS): row for row in report["rows"]} for report in (old, new)
    )
    if old.get("short", False) != new.get("short", False):
        yield "one of the reports is of small pictures (--short): nothing can be compared"
        return
    changes = [
        (after / before - 1, _name(key), what, before, after)
        for key in new_rows
        if key in old_rows
        for what, before, after in _figures(old_rows[key], new_rows[key])
    ]
    told = [change for change in changes if abs(change[0]) > SLACK]
    for change, name, what, before, after in sorted(told, reverse=True):
        kind = "REGRESSION" if change > 0 else "better"
        yield f"{kind}: {name}: {what} {before:.4g} -> {after:.4g} ({change:+.0%})"
    if not told:
        yield f"no figure of {len(changes)} differs by more than {SLACK:.0%}"
    for key in sorted({*old_rows} ^ {*new_rows}):
        yield f"only in the {'old' if key in old_rows else 'new'} report: {_name(key)}"


def _name(key: tuple[str, ...]) -> str:
    return " ".join(part for part in key if part)


def _figures(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    """Comparable figures of two rows, less being better: what it is, before and after."""
    peer = next((peer for peer in PEERS if peer in old and peer in new), None)
    if peer is None:
        yield "ms", old["ours"]["ms"], new["ours"]["ms"]
    else:
        before, after = (row["ours"]["ms"] / row[peer]["ms"] for row in (old, new))
        yield f"time / {peer}'s", before, after
    before, after = (row["ours"].get("peak_mib") for row in (old, new))
    if before and after:
        yield "MiB", before, after
