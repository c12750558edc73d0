#!/usr/bin/env python
"""Merges the masks of the 2018 Data Science Bowl, one per nucleus, into one of 0 and 255 per image.

dsb2018/stage1_train/<id>/{images/<id>.png,masks/*.png}
-> dsb2018/{images,annotations}_detectron2/<id>.png, for dsb2018_{train,val}.
"""

from collections.abc import Sequence
from pathlib import Path

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import numpy as np

from d2seg.cli.dataset_arguments import preparation_parser
from d2seg.data.label_maps import read_values
from d2seg.data.label_values import LabelValues
from d2seg.data.preparation import (
    link_image,
    require,
    run_parallel,
    run_script,
    save_image,
)

# of a mask: any value above 0 is the nucleus; masks saved in colours or of one bit are read, too
MASK = LabelValues(((0, 0),), (0,), other=255)


def main(argv: Sequence[str] | None = None) -> None:
    args = preparation_parser(__doc__).parse_args(argv)
    root = args.root / "dsb2018"
    source = require(
        root / "stage1_train",
        "get stage1_train.zip from https://www.kaggle.com/c/data-science-bowl-2018",
    )
    folders = sorted(folder for folder in source.iterdir() if (folder / "images").is_dir())
    if not folders:
        raise ValueError(f"{source} has no folder <id>/images; unpack stage1_train.zip there")
    run_parallel(lambda folder: convert(root, folder), folders, args.workers, "stage1_train")


def convert(root: Path, folder: Path) -> None:
    name = f"{folder.name}.png"
    image, masks = folder / "images" / name, sorted((folder / "masks").glob("*.png"))
    linked, merged = root / "images_detectron2" / name, root / "annotations_detectron2" / name
    if linked.exists() and merged.exists():
        return
    require(image, "the picture of a folder has its name")
    if not masks:
        raise ValueError(f"{folder / 'masks'} has no PNG; unpack stage1_train.zip again")
    labels = merge(masks)
    link_image(image, linked, labels)
    save_image(labels, merged)


def merge(files: Sequence[Path]) -> np.ndarray:
    """(H, W) uint8, 255 where any of the masks is above 0."""
    merged = None
    for file in files:
        mask = MASK.to_labels(read_values(file, MASK), file)
        if merged is not None and mask.shape != merged.shape:
            raise ValueError(
                f"{file} is {mask.shape}, the masks before it {merged.shape} (height, width)"
            )
        merged = mask if merged is None else np.maximum(merged, mask)
    return merged


if __name__ == "__main__":
    run_script(main)
