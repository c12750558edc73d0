"""The part of a report on panoptic results, from ``records/panoptic.json``. C categories."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...reports import heat_map
from .cells import gallery_of, percent, shown_classes, whole

_MAX_PAIRS = 20
EXPLAINED = {
    "class": "overlaps a segment of another class by more than 0.5",
    "place": "overlaps one of its class by 0.1 to 0.5 alone",
    "class and place": "overlaps one of another class by 0.1 to 0.5 alone",
    "nothing there": "overlaps none by 0.1",
}


def panoptic_part(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the template shows: tables, a plot and the gallery."""
    names = record["classes"]
    is_thing = np.array(record["is_thing"], bool)
    pixels = np.array(record["pixels"], float).reshape(len(names), len(names))
    swaps = np.array(record["swaps"], float).reshape(len(names), len(names))
    sums = pixels.sum(axis=1, keepdims=True)
    shares = np.divide(pixels, sums, out=np.full_like(pixels, np.nan), where=sums > 0)
    return {
        "classes": _class_rows(record),
        "kinds": _kind_rows(record),
        "matrix": heat_map(shares, names, "prediction", "truth", "percent of the truth's pixels"),
        "groups": _group_rows(pixels, swaps, is_thing),
        "pairs": _pair_rows(pixels, swaps, names, is_thing),
        "gallery": gallery_of(record),
        "gallery_classes": shown_classes(record),
    }


def _class_rows(record: Mapping[str, Any]) -> list[list]:
    rows = []
    for k, name in enumerate(record["classes"]):
        counts = record["counts"][k]
        # without a segment in truth or prediction there is no quality
        quality = [percent(x if any(counts) else None) for x in record["quality"][k]]
        kind = "thing" if record["is_thing"][k] else "stuff"
        rows.append([name, kind, *quality, *map(whole, counts)])
    return rows


def _kind_rows(record: Mapping[str, Any]) -> list[list]:
    is_thing = np.array(record["is_thing"], bool)
    spurious, missed = (np.array(record[key]) for key in ("spurious", "missed"))
    rows = []
    for i, kind in enumerate(record["kinds"]):
        counts = [
            whole(int(table[chosen, i].sum()))
            for table in (spurious, missed)
            for chosen in (is_thing, ~is_thing)
        ]
        rows.append([kind, *counts, EXPLAINED[kind]])
    return rows


def _group_rows(pixels: np.ndarray, swaps: np.ndarray, is_thing: np.ndarray) -> list[list]:
    """Things and stuff in each other's place; classes of one group among each other."""
    off_diagonal = ~np.eye(len(pixels), dtype=bool)
    rows = []
    for truth, of_truth in (("thing", is_thing), ("stuff", ~is_thing)):
        for found, of_found in (("thing", is_thing), ("stuff", ~is_thing)):
            chosen = of_truth[:, None] & of_found & off_diagonal
            numbers = swaps[chosen].sum(), pixels[chosen].sum()
            rows.append(
                [f"{truth} as {'another ' * (truth == found)}{found}", *map(whole, numbers)]
            )
    return rows


def _pair_rows(
    pixels: np.ndarray, swaps: np.ndarray, names: list[str], is_thing: np.ndarray
) -> list[list]:
    wrong = pixels.copy()
    np.fill_diagonal(wrong, 0)
    kinds = ["thing" if thing else "stuff" for thing in is_thing]
    rows = []
    for flat in np.argsort(-wrong, axis=None, kind="stable")[:_MAX_PAIRS]:
        row, column = divmod(int(flat), len(names))
        if wrong[row, column]:
            shares = percent(wrong[row, column] / pixels[row].sum())
            rows.append(
                [
                    f"{names[row]} ({kinds[row]})",
                    f"{names[column]} ({kinds[column]})",
                    whole(swaps[row, column]),
                    whole(wrong[row, column]),
                    shares,
                ]
            )
    return rows
