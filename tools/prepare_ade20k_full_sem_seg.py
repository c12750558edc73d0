#!/usr/bin/env python
"""Makes images and label maps of ADE20K with 847 classes, from release 2021_17_01.

ADE20K_2021_17_01/images/ADE/{training,validation}/**/ADE_*.jpg and ADE_*_seg.png beside them
-> ADE20K_2021_17_01/images_detectron2/ and annotations_detectron2/ (TIFF of 16 bits, 65535 where
the pixel is of no class), for ade20k_full_sem_seg_{train,val}.

Images whose shorter side is above 512 are reduced to it, as for the results of the MaskFormer
paper. Object ids are (red // 10) * 256 + green of the _seg.png (the release's own rule).
"""

from collections.abc import Sequence
from pathlib import Path

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import cv2
import numpy as np
from PIL import Image

from d2seg.cli.dataset_arguments import preparation_parser
from d2seg.data.datasets.categories import load_categories
from d2seg.data.preparation import (
    link_or_copy,
    require_any,
    run_parallel,
    run_script,
    save_image,
)

IGNORE_LABEL = 65535
MAX_SHORT_SIDE = 512
JPEG_QUALITY = 95


def main(argv: Sequence[str] | None = None) -> None:
    args = preparation_parser(__doc__).parse_args(argv)
    root = args.root / "ADE20K_2021_17_01"
    table = class_table()
    folders = [root / "images" / "ADE" / split for split in ("training", "validation")]
    for folder in require_any(
        folders, "get release 2021_17_01 from https://groups.csail.mit.edu/vision/datasets/ADE20K"
    ):
        images = sorted(folder.glob("**/ADE_*.jpg"))

        def work(image: Path, split: str = folder.name) -> None:
            convert(
                image,
                root / "images_detectron2" / split / image.name,
                root / "annotations_detectron2" / split / f"{image.stem}.tif",
                table,
            )

        run_parallel(work, images, args.workers, folder.name)


def class_table() -> np.ndarray:
    """(6656,) uint16 class of every object id that a _seg.png can hold."""
    table = np.full(26 * 256, IGNORE_LABEL, np.uint16)
    for number, category in enumerate(load_categories("ade20k_full")):
        table[category.id] = number
    return table


def convert(source: Path, image: Path, labels: Path, table: np.ndarray) -> None:
    if image.exists() and labels.exists():
        return
    with Image.open(source.with_name(f"{source.stem}_seg.png")) as opened:
        colors = np.array(opened.convert("RGB")).astype(np.int32)
    classes = table[colors[..., 0] // 10 * 256 + colors[..., 1]]
    with Image.open(source) as opened:
        pixels = np.array(opened.convert("RGB"))
    if pixels.shape[:2] != classes.shape:
        raise ValueError(f"{source} and its _seg.png differ in size")
    height, width = classes.shape
    scale = MAX_SHORT_SIDE / min(height, width)
    if scale < 1:
        size = (round(width * scale), round(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        classes = cv2.resize(classes, size, interpolation=cv2.INTER_NEAREST)
        save_image(pixels, image, quality=JPEG_QUALITY)
    else:
        link_or_copy(source, image)
    save_image(classes, labels)


if __name__ == "__main__":
    run_script(main)
