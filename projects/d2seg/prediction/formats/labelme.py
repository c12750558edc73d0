"""LabelMe: a JSON for each picture in ``labelme/``, to be opened and corrected in the editor.

``imagePath`` leads from there to the picture; addresses and pictures from a table's bytes keep
their name. A shape is one polygon (:mod:`.polygons`), or a rectangle of a detector of boxes.
"""

import json
import os
from pathlib import Path
from typing import Any

from .common import Region, Run, put
from .polygons import polygon_of

TASKS = ("instance", "panoptic", "semantic")
THRESHOLD = 0.5  # what is to be corrected by hand should mostly be right
FOLDER = "labelme"
_LEAST_POINTS = 3
_VERSION = "5.0.0"  # of the files, as LabelMe has it


def write(output: Path, run: Run) -> list[Path]:
    """Write the files; return their folder."""
    (output / FOLDER).mkdir(exist_ok=True)
    for record in run.records():
        path = output / FOLDER / f"{record.stem}.json"
        shapes = [shape for region in run.regions(record) for shape in _shape(run, region)]
        content = {
            "version": _VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": _picture(path, record.name, run.base),
            "imageData": None,
            "imageHeight": record.height,
            "imageWidth": record.width,
        }
        put(path, (json.dumps(content, indent=1) + "\n").encode())
    return [output / FOLDER]


def _picture(path: Path, name: str, base: str) -> str:
    return os.path.relpath(os.path.join(base, name), path.parent.absolute()) if base else name


def _shape(run: Run, region: Region) -> list[dict[str, Any]]:
    """A shape, or none for a mask too small for a polygon."""
    mask = region.mask()
    if mask is None:
        x, y, width, height = region.box
        points, kind = [[x, y], [x + width, y + height]], "rectangle"
    else:
        points, kind = polygon_of(mask).tolist(), "polygon"
        if len(points) < _LEAST_POINTS:
            return []
    label = run.name_of(region.kind, region.category)
    about = "" if region.score is None else f"score {region.score:.3f}"
    shape = {"label": label, "points": points, "group_id": None, "description": about}
    return [{**shape, "shape_type": kind, "flags": {}}]
