#!/usr/bin/env python
"""Converts label images to label maps of class ids: numbers to numbers, or colours to numbers.

    python tools/prepare_own_labels.py SOURCE TARGET --reduce-zero-label
    python tools/prepare_own_labels.py SOURCE TARGET --map 255:1 7:255
    python tools/prepare_own_labels.py SOURCE TARGET --colors-of my_data.yaml

SOURCE and TARGET are folders; the tree below is kept, and the target's files are PNGs. A second
call goes on where the first was stopped; files that other arguments have made are not kept
silently: they end the call before anything is written. Values that become one, values that --map
lists and no file has, and colours that are not declared are reported.
"""

import argparse
import errno
import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import numpy as np

from d2seg.cli.messages import Parser, user_path
from d2seg.data.datasets.loaders import LABEL_SUFFIXES, files_below
from d2seg.data.label_conversion import ColorTable, Conversion, ValueTable
from d2seg.data.label_maps import read_labels
from d2seg.data.preparation import require, run_parallel, run_script, save_image

SUFFIXES = (*LABEL_SUFFIXES, ".gif")  # what the loaders read, and one more lossless format
_NEGATIVE = re.compile(r"-\d+:\d+")

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_arguments(argv)
    conversion = converter(args)
    targets = plan(args.source, args.target)
    # os.path.exists, which asks for names that are too long, too
    kept = [file for file, target in targets.items() if os.path.exists(target)]
    too_long = []

    def compare(file: Path) -> None:
        if not np.array_equal(conversion(file), read_labels(targets[file])):
            raise ValueError(
                f"{targets[file]} is there, and not what these arguments make of {file}; name "
                "another TARGET, or remove this one"
            )

    def work(file: Path) -> None:
        try:
            save_image(conversion(file), targets[file])
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            too_long.append(file)

    if kept:
        run_parallel(compare, kept, args.workers, "files that are there")
    run_parallel(work, sorted(targets.keys() - set(kept)), args.workers, "label maps")
    for line in conversion.remarks():
        logger.warning("%s", line)
    for file in too_long:
        logger.warning("left out: %s: its name is too long for a file in TARGET", file)
    if too_long:
        raise ValueError(
            f"{len(too_long)} of {len(targets)} files are left out, whose names are too long: give "
            "pictures and labels shorter ones"
        )


def plan(source: Path, target: Path) -> dict[Path, Path]:
    """The file to be written for each label image.

    Raises:
        ValueError: there is none, two would be one, or a folder is wrong.
    """
    require(source, "name the folder of the label images")
    for name, folder in (("SOURCE", source), ("TARGET", target)):
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{name} {folder} is no folder; name one")
    if target.resolve() == source.resolve():
        raise ValueError("TARGET is SOURCE; name another folder, nothing is overwritten")
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(
            f"TARGET {target} lies in SOURCE {source}, and would be converted itself by a second "
            "call; name a folder beside it"
        )
    files = sorted(map(Path, files_below(source, SUFFIXES)))
    if not files:
        raise ValueError(f"no label images ({', '.join(SUFFIXES)}) in {source}")
    targets: dict[Path, Path] = {}
    for file in files:
        path = (target / file.relative_to(source)).with_suffix(".png")
        first = targets.setdefault(path, file)
        if first != file:
            raise ValueError(f"{first} and {file} would both become {path}; keep one of them")
    return {file: path for path, file in targets.items()}


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument("source", type=user_path)
    parser.add_argument("target", type=user_path)
    rule = parser.add_mutually_exclusive_group(required=True)
    rule.add_argument(
        "--reduce-zero-label",
        action="store_true",
        help="take one off every value; 0, unlabelled, becomes the ignore label, which stays",
    )
    rule.add_argument(
        "--map", nargs="+", metavar="OLD:NEW", help="replace these values, keep the others"
    )
    rule.add_argument(
        "--colors-of",
        type=user_path,
        metavar="DECLARATION",
        help="'classes' and 'colors' of this file; any other colour gets its ignore_label",
    )
    parser.add_argument(
        "--ignore-label",
        type=int,
        default=255,
        help="of --reduce-zero-label; default: 255. Above 255 classes: 65535",
    )
    parser.add_argument("--workers", type=int, default=4)
    args = sys.argv[1:] if argv is None else argv
    # argparse takes -1:255 for an option, unless there is a space in it
    return parser.parse_args([f" {a}" if _NEGATIVE.fullmatch(a) else a for a in args])


def converter(args: argparse.Namespace) -> Conversion:
    if args.colors_of is not None:
        return ColorTable.of_declaration(args.colors_of)
    if args.reduce_zero_label:
        return ValueTable.reducing_zero(args.ignore_label)
    return ValueTable.of_pairs(args.map)


if __name__ == "__main__":
    run_script(main)
