#!/usr/bin/env python
"""Makes the split and the label maps of COCO-Stuff-10k: 171 classes, 255 where unlabelled.

coco/coco_stuff_10k/{annotations,imageLists,images}
-> coco/coco_stuff_10k/{images,annotations}_detectron2/{train,test}, for
coco_2017_{train,test}_stuff_10k_sem_seg.

Release 1.0 holds 1 where unlabelled and the classes from 2 on; release 1.1 holds 0 where unlabelled
and COCO's own ids, 1..182 with gaps.
"""

from collections.abc import Sequence
from pathlib import Path

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import numpy as np
import scipy.io

from d2seg.cli.dataset_arguments import preparation_parser
from d2seg.data.datasets.categories import load_categories
from d2seg.data.label_maps import read_labels
from d2seg.data.preparation import (
    link_image,
    require,
    run_parallel,
    run_script,
    save_image,
)
from d2seg.names import path_inside

INVALID, IGNORE_LABEL = 254, 255


def main(argv: Sequence[str] | None = None) -> None:
    parser = preparation_parser(__doc__)
    parser.add_argument("--release", choices=("1.0", "1.1"), default="1.0", help="default: 1.0")
    args = parser.parse_args(argv)
    root = args.root / "coco" / "coco_stuff_10k"
    remedy = "get cocostuff-10k-v1.0.zip as https://github.com/nightrome/cocostuff10k says"
    table = class_table(args.release)
    for split in ("train", "test"):
        listed = require(root / "imageLists" / f"{split}.txt", remedy).read_text().split()
        run_parallel(
            lambda n, to=split: convert(root, to, n, args.release, table),
            listed,
            args.workers,
            split,
        )


def class_table(release: str) -> np.ndarray:
    """(256,) uint8 class of every value of the release, ``INVALID`` for those that it has not."""
    categories = load_categories("coco_stuff_171")
    table = np.full(256, INVALID, np.uint8)
    if release == "1.0":
        table[1] = IGNORE_LABEL
        table[2 : 2 + len(categories)] = np.arange(len(categories))
    else:
        table[0] = IGNORE_LABEL
        table[[category.id for category in categories]] = np.arange(len(categories))
    return table


def convert(root: Path, split: str, name: str, release: str, table: np.ndarray) -> None:
    image = path_inside(root / "images", f"{name}.jpg", "image listed")
    linked = root / "images_detectron2" / split / image.name
    target = root / "annotations_detectron2" / split / f"{image.stem}.png"
    source = root / "annotations" / f"{name}.mat"
    values = read_mat(source)
    labels = table[values]
    if np.any(labels == INVALID):
        raise ValueError(
            f"{source}: value {values[labels == INVALID][0]} is none of this release; "
            "try the other one with --release"
        )
    if target.exists():
        if not np.array_equal(read_labels(target), labels):
            raise ValueError(
                f"{target} is there, and not what release {release} makes of {source}; remove it"
            )
    else:
        save_image(labels, target)
    if not linked.exists():
        link_image(image, linked, labels)


def read_mat(file: Path) -> np.ndarray:
    """(H, W) uint8, the variable S of a MATLAB file of either version."""
    try:
        return scipy.io.loadmat(str(file))["S"].astype(np.uint8)
    except NotImplementedError:  # version 7.3 is HDF5
        pass
    try:
        import h5py
    except ImportError as error:
        raise ValueError(f"{file} is an HDF5 file; reading it needs: pip install h5py") from error
    with h5py.File(file) as content:
        return np.array(content["S"]).T.astype(np.uint8)  # MATLAB stores columns first


if __name__ == "__main__":
    run_script(main)
