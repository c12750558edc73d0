#!/usr/bin/env python
"""Makes COCO JSON files of ADE20K's instances of 100 classes, with RLE masks.

ADEChallengeData2016/annotations_instance/{training,validation}
-> ADEChallengeData2016/ade20k_instance_{train,val}.json, for ade20k_instance_{train,val} and the
mask AP on ade20k_panoptic_{train,val}. Category ids are those of the 150 classes, counted from 0;
image ids are the numbers in the file names.
"""

from collections.abc import Sequence
from typing import Any

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import numpy as np
import pycocotools.mask as mask_util

from d2seg.cli.dataset_arguments import preparation_parser
from d2seg.data.datasets.ade20k import SPLITS, AdeImage, list_images, read_instances
from d2seg.data.datasets.categories import load_categories
from d2seg.data.preparation import run_parallel, run_script, save_json


def main(argv: Sequence[str] | None = None) -> None:
    args = preparation_parser(__doc__).parse_args(argv)
    root = args.root / "ADEChallengeData2016"
    for split, folder in SPLITS.items():
        target = root / f"ade20k_instance_{split}.json"
        if not target.exists():
            save_json(make_json(list_images(root, folder), args.workers, split), target)


def make_json(images: list[AdeImage], workers: int, split: str) -> dict[str, Any]:
    found = run_parallel(annotations_of, images, workers, f"instances of {split}")
    annotations = [annotation for of_image in found for annotation in of_image]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    things = [c for c in load_categories("ade20k_150") if c.is_thing]
    return {
        "images": [image.entry for image in images],
        "categories": [{"id": c.id, "name": c.name} for c in things],
        "annotations": annotations,
    }


def annotations_of(image: AdeImage) -> list[dict[str, Any]]:
    numbers, classes = read_instances(image)
    annotations = []
    for number, category in enumerate(classes, start=1):
        mask = np.asfortranarray(numbers == number, dtype=np.uint8)
        rle = mask_util.encode(mask)
        annotations.append(
            {
                "image_id": image.entry["id"],
                "category_id": category,
                "iscrowd": 0,
                "area": int(mask_util.area(rle)),
                "bbox": mask_util.toBbox(rle).tolist(),
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
            }
        )
    return annotations


if __name__ == "__main__":
    run_script(main)
