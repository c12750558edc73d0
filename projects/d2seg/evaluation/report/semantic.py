"""The part of a report on semantic results, from ``records/semantic.json``. K classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...reports import heat_map, line_chart
from .cells import divided, gallery_of, percent, shown_classes, whole

_MAX_PAIRS = 20


def semantic_part(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows: tables, plots and the gallery."""
    names = record["classes"]
    confusion = np.array(record["confusion"], float).reshape(len(names), len(names))
    return {
        "classes": _class_rows(confusion, np.array(record["boundary"], float), names),
        "matrices": _matrices(confusion, names),
        "pairs": _confused_pairs(confusion, names),
        "calibration": _calibration(record["calibration"]),
        "gallery": gallery_of(record),
        "gallery_classes": shown_classes(record),
    }


def _class_rows(confusion: np.ndarray, boundary: np.ndarray, names: list[str]) -> list[list]:
    truth, found, right = confusion.sum(1), confusion.sum(0), confusion.diagonal()
    rows = []
    for k, name in enumerate(names):
        both, of_truth, of_prediction = boundary[k]
        # as detectron2's metrics: a class without truth has no IoU
        iou = divided(right[k], truth[k] + found[k] - right[k]) if truth[k] else None
        banded = divided(both, of_truth + of_prediction - both) if of_truth else None
        rows.append(
            [
                name,
                percent(iou),
                percent(divided(right[k], truth[k])),
                percent(divided(right[k], found[k])),
                percent(banded),
                whole(truth[k]),
                whole(found[k]),
            ]
        )
    return rows


def _matrices(confusion: np.ndarray, names: list[str]) -> list[tuple[str, str]]:
    """(data URI, description) of the matrix by truth and by prediction."""
    pictures = []
    for axis, what in ((1, "truth"), (0, "prediction")):
        sums = confusion.sum(axis=axis, keepdims=True)
        shares = np.divide(confusion, sums, out=np.full_like(confusion, np.nan), where=sums > 0)
        title = f"percent of the {what}"
        uri = heat_map(shares, names, "prediction", "truth", title)
        pictures.append((uri, f"Confusion matrix, {title}"))
    return pictures


def _confused_pairs(confusion: np.ndarray, names: list[str]) -> list[list]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    truth, total = confusion.sum(1), wrong.sum()
    rows = []
    for flat in np.argsort(-wrong, axis=None, kind="stable")[:_MAX_PAIRS]:
        row, column = divmod(int(flat), len(names))
        if wrong[row, column]:
            pixels = wrong[row, column]
            shares = percent(divided(pixels, truth[row])), percent(divided(pixels, total))
            rows.append([names[row], names[column], whole(pixels), *shares])
    return rows


def _calibration(counts: list[list[float]] | None) -> dict[str, Any] | None:
    """A plot, and the expected calibration error (Guo et al. 2017, section 2)."""
    if not counts:
        return None
    pixels, confidence, right = np.array(counts, float).T
    kept = pixels > 0
    means, accuracy = confidence[kept] / pixels[kept], right[kept] / pixels[kept]
    error = float((pixels[kept] * np.abs(means - accuracy)).sum() / pixels.sum())
    lines = {"accuracy": (means.tolist(), accuracy.tolist())}
    plot = line_chart(lines, "confidence", "accuracy", diagonal=True)
    return {"plot": plot, "error": 100 * error}
