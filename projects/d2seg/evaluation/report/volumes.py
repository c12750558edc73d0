"""The part of a report on medical volumes, from ``volumes.json`` and ``worst_slices.png``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...reports import fitted, jpeg_uri
from .cells import percent, value

VOLUMES_FILE, SLICES_FILE = "volumes.json", "worst_slices.png"
_LONGEST = 2400  # edge of the picture of slices


def volumes_part(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What the template shows: Dice and HD95 by organ, by volume, and the worst slices."""
    volumes = content["volumes"]
    organs = list(next(iter(volumes.values()))["Dice"]) if volumes else []
    organ_rows = []
    for organ in organs:
        columns = [[v[key][organ] for v in volumes.values()] for key in ("Dice", "HD95")]
        dices, distances = ([x for x in column if x is not None] for column in columns)
        lowest = percent(min(dices)) if dices else percent(None)
        organ_rows.append(
            [organ, percent(_mean(dices)), lowest, value(_mean(distances)), len(dices)]
        )
    rows = []
    for file, scores in volumes.items():
        dices = [x for x in scores["Dice"].values() if x is not None]
        cells = [
            cell
            for organ in organs
            for cell in (percent(scores["Dice"][organ]), value(scores["HD95"][organ]))
        ]
        rows.append([Path(file).name, percent(_mean(dices)), *cells])
    rows.sort(key=lambda row: row[1]["value"] if row[1]["value"] is not None else 101)
    columns = [name for organ in organs for name in (f"Dice {organ}", f"HD95 {organ}")]
    return {
        "organs": organ_rows,
        "columns": ["volume", "mean Dice", *columns],
        "rows": rows,
        "unreadable": list(content.get("unreadable", {}).values()),
        "slices": _slices(folder / SLICES_FILE),
    }


def _slices(path: Path) -> str | None:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if image is None:
        return None
    size = fitted(image.shape[:2], _LONGEST)
    image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    return jpeg_uri(image[..., ::-1])


def _mean(numbers: list[float]) -> float | None:
    return float(np.mean(numbers)) if numbers else None
