#!/usr/bin/env python
"""Makes ADE20K's panoptic annotation of 100 things and 50 stuff classes, in COCO's format.

ADEChallengeData2016/annotations/ and annotations_instance/
-> ADEChallengeData2016/ade20k_panoptic_{train,val}.json and the folders of PNGs of the same names.

The two annotations overlap: stuff is drawn first and instances over it; what is a thing in the
label map but no instance becomes void. Areas and boxes are of what is visible then, and a stuff
class that is wholly covered is no segment.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import numpy as np

from d2seg.cli.dataset_arguments import preparation_parser
from d2seg.data.checks import check_labels
from d2seg.data.datasets.ade20k import SPLITS, AdeImage, check_size, list_images, read_instances
from d2seg.data.datasets.categories import load_categories
from d2seg.data.label_maps import read_labels
from d2seg.data.preparation import (
    run_parallel,
    run_script,
    save_image,
    save_json,
)

CATEGORIES = load_categories("ade20k_150")
STUFF = np.array([not c.is_thing for c in CATEGORIES])


def main(argv: Sequence[str] | None = None) -> None:
    args = preparation_parser(__doc__).parse_args(argv)
    root = args.root / "ADEChallengeData2016"
    for split, folder in SPLITS.items():
        target = root / f"ade20k_panoptic_{split}.json"
        if target.exists():  # written last
            continue
        images = list_images(root, folder)
        pngs = root / f"ade20k_panoptic_{split}"
        annotations = run_parallel(
            lambda image, to=pngs: annotate(image, to), images, args.workers, f"panoptic {split}"
        )
        save_json(
            {
                "images": [image.entry for image in images],
                "annotations": annotations,
                "categories": [
                    {"id": c.id, "name": c.name, "isthing": int(c.is_thing), "color": c.color}
                    for c in CATEGORIES
                ],
            },
            target,
        )


def annotate(image: AdeImage, folder: Path) -> dict[str, Any]:
    """Write the PNG of an image and return its annotation."""
    ids, classes = merge(image)
    save_image(
        np.stack([ids % 256, ids // 256, ids * 0], axis=-1).astype(np.uint8),
        folder / f"{image.stem}.png",
    )
    return {
        "image_id": image.entry["id"],
        "file_name": f"{image.stem}.png",
        "segments_info": [
            segment(ids == number, number, category) for number, category in classes.items()
        ],
    }


def merge(image: AdeImage) -> tuple[np.ndarray, dict[int, int]]:
    """(H, W) segment ids, 0 for void, and the class of each id, in 0..149.

    Stuff of class c has the id c + 1, instances have those from 256 on.
    """
    labels = read_labels(image.labels).astype(np.int64)
    check_size(labels, image, image.labels)
    check_labels(labels, len(CATEGORIES) + 1, 0, image.labels)
    numbers, thing_classes = read_instances(image)
    is_stuff = np.concatenate([[False], STUFF])[labels]
    ids = np.where(numbers > 0, 255 + numbers, np.where(is_stuff, labels, 0))
    classes = {255 + n: category for n, category in enumerate(thing_classes, start=1)}
    classes.update({int(i): int(i) - 1 for i in np.unique(ids) if 0 < i < 256})
    return ids, classes


def segment(mask: np.ndarray, number: int, category: int) -> dict[str, Any]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
    return {
        "id": number,
        "category_id": category,
        "area": int(mask.sum()),
        "bbox": [int(value) for value in box],
        "iscrowd": 0,
    }


if __name__ == "__main__":
    run_script(main)
