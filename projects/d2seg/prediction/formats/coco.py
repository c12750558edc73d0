"""COCO: the results format for scoring, and a whole data set's file (cocodataset.org/#format-data).

``coco_results.json`` is a list of detections, as pycocotools' ``loadRes`` takes it;
``coco.json`` has images, categories and annotations, with areas and the score as an extra entry.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycocotools.mask as mask_util

from .common import Region, Run
from .streams import write_json

TASKS = ("instance", "panoptic", "semantic")
THRESHOLD = None  # average precision wants all detections
RESULTS, DATASET = "coco_results.json", "coco.json"


def write(output: Path, run: Run) -> list[Path]:
    """Write both files; return their paths."""
    write_json(output / RESULTS, _results(run))
    content = {
        "images": run.images(),
        "categories": run.categories(),
        "annotations": _annotations(run),
    }
    write_json(output / DATASET, content)
    return [output / RESULTS, output / DATASET]


def _results(run: Run) -> Iterator[dict[str, Any]]:
    for record in run.records():
        for region in run.regions(record):
            score = {} if region.score is None else {"score": region.score}
            yield {"image_id": record.id, **_entry(run, region), **score}


def _annotations(run: Run) -> Iterator[dict[str, Any]]:
    number = 0
    for record in run.records():
        for region in run.regions(record):
            area = _area(region)
            if not area:
                continue  # a mask without a pixel is no annotation
            number += 1
            score = {} if region.score is None else {"score": region.score}
            yield {
                "id": number,
                "image_id": record.id,
                **_entry(run, region),
                "area": area,
                "iscrowd": 0,
                **score,
            }


def _entry(run: Run, region: Region) -> dict[str, Any]:
    entry = {"category_id": run.id_of(region.kind, region.category), "bbox": region.box}
    return entry if region.rle is None else {**entry, "segmentation": region.rle}


def _area(region: Region) -> float:
    if region.rle is None:
        return region.box[2] * region.box[3]
    return float(mask_util.area(region.rle))
