"""The data sets of ``datasets.json``: those that detectron2 lacks, at fixed places.

Names and folders are those of the official MaskFormer and Mask2Former where these have the data
set, so that data prepared for them serves here. Paths are relative to ``$DETECTRON2_DATASETS``.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import CITYSCAPES_CATEGORIES, COCO_CATEGORIES

from ..label_values import parse_label_values
from .categories import Category, load_categories
from .registration import register_dataset
from .selection import SELECTION_KEYS, parse_selection

logger = logging.getLogger(__name__)

# How the data sets that detectron2 registers are prepared; said where their files are missing.
_PREPARE = {
    "ade20k_sem_seg": "tools/prepare_ade20k_sem_seg.py",
    "cityscapes_fine_sem_seg": "cityscapesscripts/preparation/createTrainIdLabelImgs.py",
    "cityscapes_fine_panoptic": "cityscapesscripts/preparation/createPanopticImgs.py",
}


def datasets_root() -> Path:
    """The folder of the data sets, ``$DETECTRON2_DATASETS`` or ``datasets``, as in detectron2."""
    return Path(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))


def register_all(root: Path) -> None:
    """Register every data set of ``datasets.json`` below ``root``; a name that is taken stays."""
    table = Path(__file__).with_name("datasets.json")
    for entry in json.loads(table.read_text(encoding="utf-8")):
        categories = _categories(entry)
        label_values = None
        if "values" in entry:
            label_values = parse_label_values(
                entry["values"],
                [category.name for category in categories],
                nearest=entry.get("nearest_value", False),
                ignore_label=None,  # these masks have a class everywhere
            )
        for split, paths in entry["splits"].items():
            name = split_name(entry["name"], split)
            if name in DatasetCatalog:
                logger.info("%s is registered elsewhere and stays as it is", name)
                continue
            selected = paths.keys() & set(SELECTION_KEYS)
            register_dataset(
                name,
                entry["task"],
                {key: root / path for key, path in paths.items() if key not in selected},
                categories,
                ignore_label=entry.get("ignore_label", 255),
                label_suffix=entry.get("label_suffix", ""),
                image_suffix=entry.get("image_suffix"),
                prepare=entry.get("prepare", ""),
                label_values=label_values,
                selection=parse_selection(paths, root) if selected else None,
            )


def split_name(name: str, split: str) -> str:
    """``name`` with ``{split}`` in it replaced, or the split appended: ``rooms_train``."""
    return name.format(split=split) if "{split}" in name else f"{name}_{split}"


def complete_detectron2() -> None:
    """Add to the metadata of detectron2's own data sets the colours and hints that they lack."""
    colors = {
        "ade20k_sem_seg": [list(c.color) for c in load_categories("ade20k_150")],
        "cityscapes_fine_sem_seg": [c["color"] for c in CITYSCAPES_CATEGORIES],
    }
    for split in ("train", "val"):
        for name, prepare in _PREPARE.items():
            MetadataCatalog.get(f"{name}_{split}").set(prepare=prepare)
        for name, of_classes in colors.items():
            metadata = MetadataCatalog.get(f"{name}_{split}")
            if metadata.get("stuff_colors") is None:
                metadata.set(stuff_colors=of_classes)


def _categories(entry: dict[str, Any]) -> list[Category]:
    """Those of the table ``categories``, or the (name, colour) that ``classes`` lists."""
    if "categories" in entry:
        return categories_of(entry["categories"])
    classes = enumerate(entry["classes"])
    return [Category(i, name, False, tuple(color)) for i, (name, color) in classes]


def categories_of(table: str) -> list[Category]:
    """Categories of a table beside this module, or detectron2's for "coco_panoptic"."""
    if table != "coco_panoptic":
        return load_categories(table)
    return [
        Category(c["id"], c["name"], bool(c["isthing"]), tuple(c["color"])) for c in COCO_CATEGORIES
    ]
