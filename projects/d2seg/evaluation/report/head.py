"""The head of a report: scores beside what was published, and what was evaluated on what."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...reports.page import number
from .cells import value, whole

# (group, metric) of results that stand at the top, in this order
MAIN = (
    ("panoptic_seg", "PQ"),
    ("sem_seg", "mIoU"),
    ("segm", "AP"),
    ("bbox", "AP"),
    ("sem_seg", "Dice"),
    ("sem_seg", "HD95"),
    ("sem_seg", "boundary_mIoU"),
    ("referring", "oIoU"),
    ("referring", "mIoU"),
    ("per_image", "mDice"),
)
_TASK_NAMES = {
    "panoptic_seg": "panoptic",
    "sem_seg": "semantic",
    "segm": "instance masks",
    "bbox": "instance boxes",
    "per_image": "per image",
}
# of published tables: the groups whose figure it is, the first one that is there
_PUBLISHED_IN = ("panoptic_seg", "segm", "sem_seg", "referring", "bbox")


def head_part(
    results: Mapping[str, Any], run: Mapping[str, Any], data_rows: Sequence[list]
) -> dict[str, Any]:
    """What the template shows.

    Args:
        results: of results.json: metrics by group, or groups by data set
        run: of run.json; empty where it is missing
        data_rows: :func:`data_row` of each data set
    """
    groups = _groups(results)
    published = run.get("published") or {}
    if published:
        published = {key: str(published[key]) for key in ("metric", "result", "source")}
    group_of_figure = next(
        (
            g
            for g in _PUBLISHED_IN
            if any(published.get("metric") in m for _, n, m in groups if n == g)
        ),
        None,
    )
    cards = []
    for wanted, metric in MAIN:
        for dataset, group, metrics in groups:
            if group == wanted and _is_number(metrics.get(metric)):
                note = f"{_TASK_NAMES.get(group, group)}{f', {dataset}' if dataset else ''}"
                if group == group_of_figure and metric == published["metric"]:
                    note += f"; published: {published['result']}"
                cards.append({"name": metric, "value": number(metrics[metric], 2), "note": note})
    return {
        "title": run.get("config") or "Evaluation",
        "cards": cards,
        "scores": _score_rows(groups),
        "facts": _facts(run),
        "data": data_rows,
        "published": published or None,
    }


def _groups(results: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(data set or set of weights, group, metrics), however deep they are nested."""
    found: list[tuple[str, str, Mapping[str, Any]]] = []

    def walk(where: tuple[str, ...], content: Mapping[str, Any]) -> None:
        metrics = {k: v for k, v in content.items() if not isinstance(v, Mapping)}
        if metrics and where:
            found.append((" ".join(where[:-1]), where[-1], metrics))
        for name, inner in content.items():
            if isinstance(inner, Mapping):
                walk((*where, name), inner)

    walk((), results)
    return found


def _score_rows(groups: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[list]:
    """Every score but those of single classes, which the tasks' own tables have."""
    rows = []
    for dataset, group, metrics in groups:
        for metric, figure in metrics.items():
            if _is_number(figure) and "-" not in metric.replace("HD95-undefined", "HD95 undefined"):
                name = f"{_TASK_NAMES.get(group, group)}{f', {dataset}' if dataset else ''}"
                rows.append([f"{name}: {metric}", value(figure)])
    return rows


def data_row(record: Mapping[str, Any]) -> list:
    """Of the table of data sets, from ``records/run.json``."""
    times = [
        value(1000 * record[key] if _is_number(record.get(key)) else None, 0)
        for key in ("seconds_model", "seconds_scoring")
    ]
    numbers = whole(record.get("num_images")), whole(record.get("num_processes"))
    return [str(record.get("dataset", "")), *numbers, *times, str(record.get("fingerprint"))]


def _facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [
        (name, str(run[key]))
        for name, key in (
            ("config", "config"),
            ("model", "architecture"),
            ("weights", "weights"),
            ("device", "device"),
            ("time", "time"),
        )
        if run.get(key)
    ]
    versions = run.get("versions") or {}
    if versions:
        facts.append(("versions", ", ".join(f"{k} {v}" for k, v in versions.items())))
    return facts


def _is_number(figure: Any) -> bool:
    is_number = isinstance(figure, int | float) and not isinstance(figure, bool)
    return is_number and math.isfinite(figure)
