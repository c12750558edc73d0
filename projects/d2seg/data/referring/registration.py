"""Registers the published referring data sets of ``datasets.json``, in their authors' layout."""

import json
import logging
from pathlib import Path

from detectron2.data import DatasetCatalog

from ..datasets.registration import register_dataset

logger = logging.getLogger(__name__)


def register_all(root: Path) -> None:
    """Register ``<name>_<split>`` below the folder ``refer`` of ``root``; a taken name stays."""
    folder = root / "refer"
    table = Path(__file__).with_name("datasets.json")
    for entry in json.loads(table.read_text(encoding="utf-8")):
        paths = {
            "images": folder / "images" / entry["images"],
            "annotations": folder / entry["folder"] / "instances.json",
            "expressions": folder / entry["folder"] / entry["expressions"],
        }
        for split in entry["splits"]:
            name = f"{entry['name']}_{split}"
            if name in DatasetCatalog:
                logger.info("%s is registered elsewhere and stays as it is", name)
                continue
            register_dataset(name, "referring", paths, [], split=split)
