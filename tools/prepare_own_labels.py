#!/usr/bin/env python
"""Converts label images to label maps of class ids: numbers to numbers, or colours to numbers.

    python tools/prepare_own_labels.py SOURCE TARGET --reduce-zero-label
    python tools/prepare_own_labels.py SOURCE TARGET --map 255:1 7:255
    python tools/prepare_own_labels.py SOURCE TARGET --colors-of my_data.yaml

SOURCE and TARGET are folders; the tree below is kept, and the target's files are PNGs.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import numpy as np
from PIL import Image

from d2seg.data.datasets.declaration import read_classes
from d2seg.data.datasets.loaders import LABEL_SUFFIXES
from d2seg.data.label_maps import read_labels
from d2seg.data.preparation import require, run_parallel, run_script, save_image


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_arguments(argv)
    source = require(args.source, "name the folder of the label images")
    if args.target.resolve() == source.resolve():
        raise ValueError("TARGET is SOURCE; name another folder, nothing is overwritten")
    files = sorted(f for f in source.rglob("*") if f.suffix.lower() in LABEL_SUFFIXES)
    if not files:
        raise ValueError(f"no label images ({', '.join(LABEL_SUFFIXES)}) in {source}")
    convert = converter(args)

    def work(file: Path) -> None:
        target = (args.target / file.relative_to(source)).with_suffix(".png")
        if not target.exists():
            save_image(convert(file), target)

    run_parallel(work, files, args.workers, "label maps")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    rule = parser.add_mutually_exclusive_group(required=True)
    rule.add_argument(
        "--reduce-zero-label",
        action="store_true",
        help="take one off every value; 0, unlabelled, becomes 255, and 255 stays",
    )
    rule.add_argument(
        "--map", nargs="+", metavar="OLD:NEW", help="replace these values, keep the others"
    )
    rule.add_argument(
        "--colors-of",
        type=Path,
        metavar="DECLARATION",
        help="'classes' and 'colors' of this file; any other colour gets its ignore_label",
    )
    parser.add_argument("--workers", type=int, default=4)
    return parser.parse_args(argv)


def converter(args: argparse.Namespace) -> Callable[[Path], np.ndarray]:
    """The function that turns a file into its label map, (H, W) uint8 or uint16."""
    if args.colors_of is not None:
        categories, ignore_label = read_classes(args.colors_of)
        table = np.full(1 << 24, ignore_label, np.uint8 if ignore_label < 256 else np.uint16)
        for number, category in enumerate(categories):
            red, green, blue = category.color
            table[red * 256**2 + green * 256 + blue] = number
        return lambda file: from_colors(file, table)
    if args.reduce_zero_label:
        table = np.arange(-1, 65535)
        table[[0, 255]] = 255
    else:
        table = np.arange(65536)
        for pair in args.map:
            old, new = numbers(pair)
            table[old] = new
    return lambda file: from_values(file, table)


def numbers(pair: str) -> tuple[int, int]:
    old, _, new = pair.partition(":")
    if not (old.isdigit() and new.isdigit() and int(old) < 65536 and int(new) < 65536):
        raise ValueError(f"--map {pair}: it has the form OLD:NEW, as 255:1")
    return int(old), int(new)


def from_colors(file: Path, table: np.ndarray) -> np.ndarray:
    with Image.open(file) as opened:
        colors = np.array(opened.convert("RGB")).astype(np.int64)
    return table[colors @ np.array([256**2, 256, 1])]


def from_values(file: Path, table: np.ndarray) -> np.ndarray:
    labels = read_labels(file)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(table):
        raise ValueError(f"{file}: values beyond 0..{len(table) - 1}")
    labels = table[labels]
    return labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)


if __name__ == "__main__":
    run_script(main)
