"""COCO panoptic: ``panoptic.json`` and a PNG of segment ids for each picture in ``panoptic/``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .common import Run, put
from .streams import write_json

TASKS = ("panoptic",)
THRESHOLD = None  # as the config says
FILE, FOLDER = "panoptic.json", "panoptic"


def write(output: Path, run: Run) -> list[Path]:
    """Write the JSON and the PNGs; return their paths."""
    (output / FOLDER).mkdir(exist_ok=True)
    for record in run.records():
        put(output / FOLDER / f"{record.stem}.png", record.png)
    content = {
        "images": run.images(),
        "categories": run.categories(),
        "annotations": _annotations(run),
    }
    write_json(output / FILE, content)
    return [output / FILE, output / FOLDER]


def _annotations(run: Run) -> Iterator[dict[str, Any]]:
    for record in run.records():
        segments = [_segment(run, segment) for segment in record.result["segments_info"]]
        yield {
            "image_id": record.id,
            "file_name": f"{record.stem}.png",
            "segments_info": segments,
        }


def _segment(run: Run, segment: dict[str, Any]) -> dict[str, Any]:
    """With the data set's id of the class; without "isthing", its categories are already so."""
    segment = {**segment, "iscrowd": 0}
    is_thing = segment.pop("isthing", None)
    if is_thing is not None:
        kind = "thing" if is_thing else "stuff"
        segment["category_id"] = run.id_of(kind, segment["category_id"])
    return segment
