"""The part of a report on the training: what metrics.json says of each iteration."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...reports import line_chart

METRICS_FILE = "metrics.json"
# of evaluations, by group: the figures that are drawn
MAIN_SCORES = {
    "panoptic_seg": ("PQ", "SQ", "RQ"),
    "sem_seg": ("mIoU", "Dice", "mACC"),
    "segm": ("AP", "AP50"),
    "bbox": ("AP",),
    "referring": ("oIoU", "mIoU"),
    "per_image": ("mDice",),
}
_MAX_LOSSES = 7  # lines of one plot
Points = tuple[list[float], list[float]]


def training_part(output_dir: Path) -> dict[str, Any] | None:
    """Plots of losses, learning rate and scores; None without a training in this folder."""
    entries = read_metrics(output_dir / METRICS_FILE)
    if not entries:
        return None
    series = _series(entries)
    losses = {n: p for n, p in series.items() if n == "total_loss" or n.startswith("loss_")}
    if not losses:  # of an evaluation alone
        return None
    plots = [("Losses", _chart(_main_losses(losses), "loss", log_y=True))]
    if "lr" in series:
        plots.append(("Learning rate", _chart({"lr": series["lr"]}, "learning rate")))
    scores = {n: p for n, p in series.items() if _is_main_score(n)}
    if scores:
        # a single line has no legend
        label = "percent" if len(scores) > 1 else f"{next(iter(scores))}, percent"
        plots.append(("Scores of evaluations", _chart(scores, label)))
    bad = series.get("bad_steps", ([], []))
    last = max(x[-1] for x, _ in losses.values())
    return {
        "plots": plots,
        "facts": [
            ("iterations", f"{int(last) + 1:,}"),
            ("total loss", f"{losses['total_loss'][1][-1]:.4g}" if "total_loss" in losses else ""),
            ("bad steps", f"{int(bad[1][-1])}" if bad[1] else "0"),
            ("seconds a step", _median(series.get("time", ([], []))[1])),
        ],
        "hidden_losses": max(0, len(losses) - _MAX_LOSSES),
    }


def read_metrics(path: Path) -> list[Mapping[str, Any]]:
    """The lines of a metrics.json; those that a killed run has left half written are left out."""
    if not path.is_file():
        return []
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    entries = []
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and isinstance(entry.get("iteration"), int):
            entries.append(entry)
    return entries


def _series(entries: Sequence[Mapping[str, Any]]) -> dict[str, Points]:
    series: dict[str, Points] = {}
    for entry in entries:
        for name, value in entry.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if name != "iteration" and is_number and math.isfinite(value):
                x, y = series.setdefault(name, ([], []))
                x.append(entry["iteration"])
                y.append(value)
    return series


def _main_losses(losses: Mapping[str, Points]) -> dict[str, Points]:
    """The total, then those with short names: of the final layer, not of auxiliary outputs."""
    names = sorted(losses, key=lambda name: (name != "total_loss", len(name), name))
    return {name: losses[name] for name in names[:_MAX_LOSSES]}


def _is_main_score(name: str) -> bool:
    group, _, metric = name.rpartition("/")
    return metric in MAIN_SCORES.get(group.rpartition("/")[2], ())


def _chart(lines: Mapping[str, Points], y_label: str, log_y: bool = False) -> str:
    lowest, highest = min(min(y) for _, y in lines.values()), max(max(y) for _, y in lines.values())
    is_log = log_y and lowest > 0 and highest / lowest > 10
    return line_chart(lines, "iteration", y_label, log_y=is_log)


def _median(values: Sequence[float]) -> str:
    return f"{sorted(values)[len(values) // 2]:.3g}" if values else "unknown"
