"""The raw files of ADE20K's scene parsing challenge with instances, as the preparation reads them.

``annotations/<split>/*.png``: 0 is unlabelled, 1..150 the classes. ``annotations_instance``: red is
the instance class, 1..100 (the things among the 150, in their order), green the number of the
instance in the image, 0 where there is none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .categories import load_categories

SPLITS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class AdeImage:
    """An image and its raw annotations; ``entry`` is its entry in a COCO JSON file."""

    entry: dict[str, Any]
    labels: Path
    instances: Path

    @property
    def stem(self) -> str:
        return self.labels.stem


def list_images(root: Path, folder: str) -> list[AdeImage]:
    """Images of a split in the order of their names; ids are the numbers in the names.

    Raises:
        ValueError: there is no such folder of images or of instances.
    """
    for needed in (root / "images" / folder, root / "annotations_instance" / folder):
        if not needed.is_dir():
            raise ValueError(
                f"there is no folder {needed}; get ADEChallengeData2016.zip and "
                "annotations_instance.tar from http://sceneparsing.csail.mit.edu"
            )
    images = []
    for file in sorted((root / "images" / folder).glob("*.jpg")):
        with Image.open(file) as image:
            width, height = image.size
        number = int(file.stem.rsplit("_", 1)[-1])
        entry = {"id": number, "file_name": file.name, "width": width, "height": height}
        png = f"{file.stem}.png"
        images.append(
            AdeImage(
                entry,
                root / "annotations" / folder / png,
                root / "annotations_instance" / folder / png,
            )
        )
    return images


def read_instances(image: AdeImage) -> tuple[np.ndarray, list[int]]:
    """Instances of an image, numbered from 1, and the class of each, in 0..149.

    Returns:
        (H, W) int64 numbers, 0 where there is no instance; the class of number i + 1 at i

    Raises:
        ValueError: the file cannot be read, has another size than the image or a strange class.
    """
    with Image.open(image.instances) as opened:
        raw = np.array(opened.convert("RGB")).astype(np.int64)
    check_size(raw, image, image.instances)
    codes = np.where(raw[..., 1] > 0, raw[..., 0] * 256 + raw[..., 1], 0)
    found, numbers = np.unique(codes, return_inverse=True)
    if found[0] != 0:  # the whole image is instances
        found, numbers = np.insert(found, 0, 0), numbers + 1
    things = [c.id for c in load_categories("ade20k_150") if c.is_thing]
    classes = []
    for code in found[1:]:
        kind = int(code) // 256
        if not 1 <= kind <= len(things):
            raise ValueError(f"{image.instances}: red is {kind}, not in 1..{len(things)}")
        classes.append(things[kind - 1])
    return numbers.reshape(codes.shape), classes


def check_size(annotation: np.ndarray, image: AdeImage, file: Path) -> None:
    """Raise ``ValueError`` unless the annotation has the size of its image."""
    size = (image.entry["height"], image.entry["width"])
    if annotation.shape[:2] != size:
        raise ValueError(f"{file} is {annotation.shape[:2]}, its image {size} (height, width)")
