#!/usr/bin/env python
"""Makes the split and the label maps of Pascal Context: 59 classes, with and without background.

VOCdevkit/VOC2010/{JPEGImages,trainval_merged.json}
-> VOCdevkit/VOC2010/pascal_context/{images,labels_59,labels_60}/{train,val}, for
pascal_context_59_sem_seg_{train,val} (255 where there is none of the classes) and
pascal_context_60_sem_seg_{train,val} (0 there, the classes from 1 on).

The classes are numbered in the order of their ids in the JSON file, as in published models.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import numpy as np
import pycocotools.mask as mask_util

from d2seg.cli.dataset_arguments import preparation_parser
from d2seg.data.datasets.categories import load_categories
from d2seg.data.preparation import (
    link_image,
    require,
    run_parallel,
    run_script,
    save_image,
)
from d2seg.names import path_inside

SPLITS = ("train", "val")


def main(argv: Sequence[str] | None = None) -> None:
    args = preparation_parser(__doc__).parse_args(argv)
    root = args.root / "VOCdevkit" / "VOC2010"
    require(
        root / "JPEGImages",
        "get VOCtrainval_03-May-2010.tar from http://host.robots.ox.ac.uk/pascal/VOC/voc2010",
    )
    file = require(
        root / "trainval_merged.json",
        "get it as https://github.com/zhanghang1989/detail-api says",
    )
    content = read(file)
    segments = defaultdict(list)
    for segment in content["annos_segmentation"]:
        segments[segment["image_id"]].append(segment)
    table = {c.id: number for number, c in enumerate(load_categories("pascal_context_60"))}
    for split in SPLITS:
        images = [image for image in content["images"] if image["phase"] == split]
        if not images:
            raise ValueError(f"{file} has no image of the phase '{split}'")
        run_parallel(
            lambda image, to=split: convert(root, to, image, segments[image["image_id"]], table),
            images,
            args.workers,
            split,
        )


def read(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Raises ValueError for a file that is not JSON or lacks the lists that are needed."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is truncated or not JSON: {error}") from error
    missing = {"images", "annos_segmentation"} - set(content)
    if missing:
        raise ValueError(f"{file} lacks {sorted(missing)}; it is another file of the data set")
    return content


def convert(
    root: Path,
    split: str,
    image: dict[str, Any],
    segments: list[dict[str, Any]],
    table: dict[int, int],
) -> None:
    source = path_inside(root / "JPEGImages", image["file_name"], "file_name of an image")
    folder = root / "pascal_context"
    stem = Path(image["file_name"]).stem
    linked = folder / "images" / split / source.name
    with_background = folder / "labels_60" / split / f"{stem}.png"
    without_background = folder / "labels_59" / split / f"{stem}.png"
    if linked.exists() and with_background.exists() and without_background.exists():
        return
    labels = draw(image, segments, table)
    link_image(source, linked, labels)
    save_image(labels, with_background)
    save_image(labels - np.uint8(1), without_background)  # 0 becomes 255


def draw(
    image: dict[str, Any], segments: list[dict[str, Any]], table: dict[int, int]
) -> np.ndarray:
    """(H, W) uint8 label map of an image; where segments overlap, the last one counts."""
    height, width = image["height"], image["width"]
    labels = np.zeros((height, width), np.uint8)
    for segment in segments:
        category, mask = segment["category_id"], segment["segmentation"]
        if category not in table:
            raise ValueError(
                f"{image['file_name']}: category {category} is none of the 59; the classes are "
                "those of trainval_merged.json"
            )
        if isinstance(mask["counts"], list):  # run lengths that are not compressed
            mask = mask_util.frPyObjects(mask, *mask["size"])
        decoded = mask_util.decode(mask).astype(bool)
        if decoded.shape != labels.shape:
            raise ValueError(
                f"{image['file_name']}: a segment is {decoded.shape}, the image {labels.shape} "
                "(height, width)"
            )
        labels[decoded] = table[category]
    return labels


if __name__ == "__main__":
    run_script(main)
