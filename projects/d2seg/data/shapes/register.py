"""Registers the data set "shapes": metadata at once, files on first use."""

import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.coco import load_coco_json

from ..datasets.builtin import datasets_root
from ..datasets.categories import instance_metadata, panoptic_metadata, semantic_metadata
from ..datasets.json_loaders import load_instances, load_panoptic
from ..datasets.loaders import load_semantic
from .categories import CATEGORIES
from .generate import NUM_IMAGES, ensure_shapes
from .textures import SIZE

TASKS = ("panoptic", "sem_seg", "instance", "referring")
_IGNORE_LABEL = 255  # no pixel has it

DatasetDicts = list[dict[str, Any]]


def register_shapes() -> None:
    """Register ``shapes_{panoptic,sem_seg,instance,referring}_{train,val}``.

    Nothing is read or written. The first ``DatasetCatalog.get`` makes the files of all of them, in
    the folder ``shapes`` of what the environment variable DETECTRON2_DATASETS says at that time.
    """
    for task in TASKS:
        for split in NUM_IMAGES:
            name = f"shapes_{task}_{split}"
            DatasetCatalog.register(name, partial(_load, name, task, split))
            MetadataCatalog.get(name).set(
                **_metadata(task), **_paths(task, split), made_on_first_use=True
            )


def shapes_folder() -> Path:
    """Where the data set is or will be: ``$DETECTRON2_DATASETS/shapes``, or ``datasets/shapes``."""
    return datasets_root() / "shapes"


def _metadata(task: str) -> dict[str, Any]:
    if task in ("instance", "referring"):
        evaluator = "coco" if task == "instance" else "referring"
        return instance_metadata(CATEGORIES) | {"evaluator_type": evaluator}
    if task == "sem_seg":
        own = semantic_metadata(CATEGORIES) | {"evaluator_type": "sem_seg"}
    else:
        own = panoptic_metadata(CATEGORIES)
        own |= {"evaluator_type": "coco_panoptic_seg", "label_divisor": 1000}
    return own | {"ignore_label": _IGNORE_LABEL}


def _paths(task: str, split: str) -> dict[str, str]:
    """The metadata that depend on where the data sets are."""
    folder = shapes_folder()
    names = {
        "image_root": f"images_{split}",
        "json_file": f"instances_{split}.json",
        "panoptic_root": f"panoptic_{split}",
        "panoptic_json": f"panoptic_{split}.json",
        "sem_seg_root": f"sem_seg_{split}",
        "referring_json": f"referring_{split}.json",
    }
    keys = {
        "panoptic": ("panoptic_root", "panoptic_json", "json_file", "sem_seg_root"),
        "sem_seg": ("sem_seg_root",),
        "instance": ("json_file",),
        "referring": ("json_file", "referring_json"),
    }[task]
    return {key: str(folder / names[key]) for key in ("image_root", *keys)}


def _load(name: str, task: str, split: str) -> DatasetDicts:
    ensure_shapes(shapes_folder())
    paths = _paths(task, split)
    metadata = MetadataCatalog.get(name)
    # DETECTRON2_DATASETS may have changed since the registration, and what is set cannot be set
    # again to another value.
    vars(metadata).update(paths)
    images = paths["image_root"]
    if task == "panoptic":
        return load_panoptic(
            paths["panoptic_json"],
            images,
            paths["panoptic_root"],
            metadata.as_dict(),
            sem_seg_root=paths["sem_seg_root"],  # mIoU can be scored, too
        )
    if task == "sem_seg":
        return _load_semantic(images, paths["sem_seg_root"])
    if task == "instance":
        return load_instances(paths["json_file"], images, metadata.as_dict())
    return _load_referring(paths, name)


def _load_semantic(images: str, labels: str) -> DatasetDicts:
    """With the image's number and size, as the other tasks have them."""
    records = load_semantic(images, labels)
    for record in records:
        record["image_id"] = int(record["image_id"])
        record["height"] = record["width"] = SIZE
    return records


def _load_referring(paths: dict[str, str], name: str) -> DatasetDicts:
    """Images with ``annotations`` and ``expressions``.

    An expression is a dict of ``id``, ``sentence``, ``kind``, ``annotation_id`` (the ``id`` of one
    of the annotations) and that annotation's ``segmentation`` (COCO polygons or RLE).
    """
    records = load_coco_json(paths["json_file"], paths["image_root"], name, ["id"])
    expressions = defaultdict(list)
    for entry in json.loads(Path(paths["referring_json"]).read_text())["expressions"]:
        expressions[entry.pop("image_id")].append(entry)
    for record in records:
        segmentations = {a["id"]: a["segmentation"] for a in record["annotations"]}
        record["expressions"] = expressions[record["image_id"]]
        for entry in record["expressions"]:
            entry["segmentation"] = segmentations[entry["annotation_id"]]
    return records
