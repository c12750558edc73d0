"""Small data sets of label maps for the tests of the page on data sets."""

import json
from pathlib import Path

import cv2
import numpy as np
from dataset_files import (
    unique_name,
    write_png,
)
from detectron2.data import MetadataCatalog
from PIL import Image

from d2seg.data.datasets.declaration import register_declarations
from d2seg.data.inspection.dataset import inspect_dataset
from d2seg.data.inspection.measures import Inspected, Measures


def scene(seed: int, size: tuple[int, int] = (96, 128)) -> Image.Image:
    """A smooth picture of its own for each seed."""
    coarse = np.random.default_rng(seed).integers(30, 225, (7, 9, 3), np.uint8)
    pixels = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    return Image.fromarray(pixels)


def save(image: Image.Image, file: Path, labels: np.ndarray | None = None, **how: object) -> None:
    """The picture, and a label map of its size beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, **how)
    if labels is None:
        labels = np.zeros((image.height, image.width), np.uint8)
        labels[: image.height // 2] = 1
    split = file.parent.name
    write_png(file.parents[2] / "labels" / split / f"{file.stem}.png", labels)


def declare(root: Path, *splits: str, **more: object) -> Path:
    """A declaration of label maps; its name is new each time."""
    folders = {s: {"images": f"images/{s}", "labels": f"labels/{s}"} for s in splits}
    content = {"name": unique_name(), "task": "semantic", "classes": ["floor", "wall", "sky"]}
    file = root / f"{content['name']}.json"
    file.write_text(json.dumps({**content, "splits": folders, **more}))
    return file


def inspected(file: Path) -> list[Inspected]:
    found = []
    for name in register_declarations([file]):
        measures = Measures()
        report = inspect_dataset(name, workers=2, measures=measures)
        found.append(Inspected(name, MetadataCatalog.get(name), report, measures))
    return found
