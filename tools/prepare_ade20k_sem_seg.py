#!/usr/bin/env python
"""Makes the label maps of ADE20K's 150 classes: 0..149, and 255 where unlabelled.

ADEChallengeData2016/annotations/ (0 is unlabelled, classes are 1..150)
-> ADEChallengeData2016/annotations_detectron2/, for ade20k_sem_seg_{train,val}.
"""

from collections.abc import Sequence
from pathlib import Path

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import numpy as np

from d2seg.cli.dataset_arguments import preparation_parser
from d2seg.data.checks import check_labels
from d2seg.data.label_maps import read_labels
from d2seg.data.preparation import (
    require_any,
    run_parallel,
    run_script,
    save_image,
)

NUM_CLASSES = 150


def main(argv: Sequence[str] | None = None) -> None:
    args = preparation_parser(__doc__).parse_args(argv)
    root = args.root / "ADEChallengeData2016"
    folders = [root / "annotations" / split for split in ("training", "validation")]
    for folder in require_any(
        folders, "get ADEChallengeData2016.zip from http://sceneparsing.csail.mit.edu"
    ):
        target = root / "annotations_detectron2" / folder.name
        files = sorted(folder.glob("*.png"))
        run_parallel(lambda f, to=target: convert(f, to), files, args.workers, folder.name)


def convert(source: Path, target_folder: Path) -> None:
    target = target_folder / source.name
    if target.exists():
        return
    labels = read_labels(source)
    check_labels(labels, NUM_CLASSES + 1, 0, source)
    save_image(labels.astype(np.uint8) - np.uint8(1), target)  # 0 becomes 255


if __name__ == "__main__":
    run_script(main)
