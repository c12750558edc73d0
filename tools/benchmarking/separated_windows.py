"""``windows_separated``: the windows of ``mosaics.py`` for detectron2's Panoptic FPN, which takes
instances of things and label maps of stuff; for ``train_net.py --import``. Their folder is the
environment's D2SEG_WINDOWS."""

import json
import os
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json, load_sem_seg
from detectron2.data.datasets.coco_panoptic import merge_to_panoptic

NAME = "windows_separated"

if "D2SEG_WINDOWS" not in os.environ:
    raise ValueError(
        "set D2SEG_WINDOWS to a folder of tools/benchmarking/mosaics.py --write-windows"
    )
_FOLDER = Path(os.environ["D2SEG_WINDOWS"])
_CATEGORIES = json.loads((_FOLDER / "panoptic.json").read_text())["categories"]
_THINGS = [each for each in _CATEGORIES if each["isthing"]]
_STUFF = [each for each in _CATEGORIES if not each["isthing"]]


def _load() -> list[dict[str, Any]]:
    images = str(_FOLDER / "images")
    return merge_to_panoptic(
        load_coco_json(str(_FOLDER / "instance.json"), images, NAME),
        load_sem_seg(str(_FOLDER / "stuff"), images, image_ext="png"),
    )


# detectron2's register_coco_panoptic_separated, for pictures that are no JPEGs
DatasetCatalog.register(NAME, _load)
MetadataCatalog.get(NAME).set(
    thing_classes=[each["name"] for each in _THINGS],
    thing_dataset_id_to_contiguous_id={each["id"]: i for i, each in enumerate(_THINGS)},
    stuff_classes=["things", *(each["name"] for each in _STUFF)],
    stuff_dataset_id_to_contiguous_id={each["id"]: i for i, each in enumerate(_STUFF, start=1)},
    ignore_label=255,
)
