#!/usr/bin/env python
"""Makes label maps of COCO's 133 panoptic classes: contiguous ids, 255 for void.

coco/panoptic_{train,val}2017 and coco/annotations/panoptic_{train,val}2017.json
-> coco/panoptic_semseg_{train,val}2017, for coco_2017_{train,val}_panoptic_with_sem_seg.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import numpy as np

from d2seg.cli.dataset_arguments import preparation_parser
from d2seg.data.datasets.builtin import categories_of
from d2seg.data.datasets.categories import panoptic_metadata
from d2seg.data.datasets.json_loaders import load_panoptic
from d2seg.data.label_maps import read_id_map
from d2seg.data.preparation import (
    require_any,
    run_parallel,
    run_script,
    save_image,
)

IGNORE_LABEL = 255

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    args = preparation_parser(__doc__).parse_args(argv)
    root = args.root / "coco"
    metadata = panoptic_metadata(categories_of("coco_panoptic"))
    files = [root / "annotations" / f"panoptic_{split}2017.json" for split in ("val", "train")]
    remedy = "get panoptic_annotations_trainval2017.zip from https://cocodataset.org"
    for file in require_any(files, remedy):
        pngs = root / file.stem
        entries = load_panoptic(file, root / file.stem[len("panoptic_") :], pngs, metadata)
        target = root / file.stem.replace("panoptic_", "panoptic_semseg_")
        run_parallel(lambda e, to=target: convert(e, to), entries, args.workers, file.stem)


def convert(entry: dict[str, Any], folder: Path) -> None:
    source = Path(entry["pan_seg_file_name"])
    target = folder / source.name
    if target.exists():
        return
    ids = read_id_map(str(source))
    labels = np.full(ids.shape, IGNORE_LABEL, np.uint8)
    for segment in entry["segments_info"]:
        labels[ids == segment["id"]] = segment["category_id"]
    save_image(labels, target)


if __name__ == "__main__":
    run_script(main)
