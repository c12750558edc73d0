"""YOLO: a text file for each picture in ``yolo/labels/``, and ``yolo/data.yaml`` with the names.

A line is the number of a class in ``data.yaml`` and a polygon (:mod:`.polygons`) in parts of width
and height; of a detector of boxes the centre and the size of the box. A picture where nothing was
found has an empty file. Scores are left out: the files are labels.
"""

from pathlib import Path

import yaml

from ..folders.parts import Record
from .common import Region, Run, put
from .polygons import polygon_of

TASKS = ("instance", "panoptic", "semantic")
THRESHOLD = 0.5  # there is no place for a score
FOLDER = "yolo"
_LEAST_POINTS = 3


def write(output: Path, run: Run) -> list[Path]:
    """Write the files; return their folder."""
    labels = output / FOLDER / "labels"
    labels.mkdir(parents=True, exist_ok=True)
    categories = run.categories()
    places = {category["id"]: place for place, category in enumerate(categories)}
    for record in run.records():
        lines = (_line(run, places, region, record) for region in run.regions(record))
        put(labels / f"{record.stem}.txt", "".join(filter(None, lines)).encode())
    names = {place: category["name"] for place, category in enumerate(categories)}
    content = {"path": run.base, "train": ".", "val": ".", "names": names}
    put(output / FOLDER / "data.yaml", yaml.safe_dump(content, sort_keys=False).encode())
    return [output / FOLDER]


def _line(run: Run, places: dict[int, int], region: Region, record: Record) -> str:
    mask = region.mask()
    if mask is None:
        x, y, width, height = region.box
        values = [x + width / 2, y + height / 2, width, height]
    else:
        values = polygon_of(mask).ravel().tolist()
        if len(values) < 2 * _LEAST_POINTS:
            return ""
    sizes = (record.width, record.height)
    relative = (f"{value / sizes[place % 2]:.6f}" for place, value in enumerate(values))
    number = run.id_of(region.kind, region.category)
    return f"{places.get(number, number)} {' '.join(relative)}\n"
