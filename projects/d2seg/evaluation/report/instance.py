"""The part of a report on instance results, from ``records/instance.json``. K classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .cells import gallery_of, percent, shown_classes, value, whole

_AP_COLUMNS = ("all", "50", "75", "small", "medium", "large")
EXPLAINED = {
    "classification": "in the place of an object of another class",
    "localisation": "of the right class, overlaps by 0.1 to 0.5 alone",
    "both": "of another class, and overlaps by 0.1 to 0.5 alone",
    "duplicate": "an object that a better detection has found",
    "background": "overlaps no object by 0.1",
    "missed": "an object that no detection means, not even a wrong one",
}


def instance_part(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows: tables, curves and the gallery."""
    names = record["classes"]
    return {
        "what": {"segm": "masks", "bbox": "boxes"}[record["kind"]],
        "classes": _class_rows(record),
        "errors": _error_rows(record["errors"]),
        "ap50": 100 * float(record["errors"]["ap50"] or 0),
        "right": whole(record["errors"]["count"]["right"])["text"],
        "by_class": _errors_by_class(record),
        "swaps": [
            [names[truth], names[found], whole(number)]
            for truth, found, number in record["errors"]["swaps"]
        ],
        "curves": _curves(record),
        "scores": _scores(record),
        "gallery": gallery_of(record),
        "gallery_classes": shown_classes(record),
    }


def _class_rows(record: Mapping[str, Any]) -> list[list]:
    rows = []
    for k, name in enumerate(record["classes"]):
        best = record["thresholds"][k]
        aps = [percent(record["ap"][column][k]) for column in _AP_COLUMNS]
        f1 = [value(best["score"]), percent(best["f1"])]
        rows.append([name, *aps, *f1, whole(record["objects"][k]), whole(record["detections"][k])])
    return rows


def _error_rows(errors: Mapping[str, Any]) -> list[list]:
    rows = []
    for kind, cost in zip(errors["kinds"], errors["cost"], strict=True):
        counts = [whole(errors[key][kind]) for key in ("count", "count_certain")]
        rows.append([kind, percent(cost, 2), *counts, EXPLAINED[kind]])
    return rows


def _errors_by_class(record: Mapping[str, Any]) -> list[list]:
    counts = zip(record["classes"], record["errors"]["by_class"], strict=True)
    return [[name, *map(whole, row)] for name, row in counts]


def _curves(record: Mapping[str, Any]) -> dict[str, Any] | None:
    curves = record["curves"]
    if not curves["classes"]:
        return None
    names, ap = record["classes"], record["ap"]
    return {
        "kind": "lines",
        "classes": [names[k] for k in curves["classes"]],
        "x": curves["recall"],
        "x_label": "recall",
        "y_label": "precision",
        "series": [f"IoU {iou:.2f}" for iou in curves["iou"]],
        "y": curves["precision"],
        "note": [
            f"AP {100 * (ap['all'][k] or 0):.1f}, AP50 {100 * (ap['50'][k] or 0):.1f}, "
            f"{record['objects'][k]} objects"
            for k in curves["classes"]
        ],
    }


def _scores(record: Mapping[str, Any]) -> dict[str, Any] | None:
    counts = np.array(record["scores"])  # (K, 2, bins)
    chosen = [int(k) for k in record["curves"]["classes"]]
    if not chosen:
        return None
    notes = []
    for k in chosen:
        best = record["thresholds"][k]
        notes.append(
            f"best F1 {100 * best['f1']:.1f} from score {best['score']:.3f} on: precision "
            f"{100 * best['precision']:.1f}, recall {100 * best['recall']:.1f}"
        )
    return {
        "kind": "bars",
        "classes": [record["classes"][k] for k in chosen],
        "x": [0, 1],
        "x_label": "score",
        "y_label": "detections",
        "series": ["right", "wrong"],
        "y": counts[chosen].tolist(),
        "note": notes,
    }
