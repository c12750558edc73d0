"""Looks at the expressions of a referring data set, for ``tools/check_dataset.py``."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pycocotools.mask as mask_util

from ...text import words_of
from ..inspection.report import Report
from ..segmentations import overhang, sound_segmentation, to_rle

_MAX_OVERHANG = 1.0  # pixels that polygons may leave their image: what rounding makes


def inspect_expressions(
    entry: dict[str, Any], size: tuple[int, int] | None, report: Report
) -> None:
    """Add to ``report`` what is wrong with the expressions of one dict.

    Args:
        size: (height, width) of the image as it is in the file; None: not known
    """
    file = entry["file_name"]
    targets: dict[tuple[str, ...], set[str]] = {}
    for expression in entry["expressions"]:
        sentence = expression["sentence"]
        words = tuple(words_of(sentence))
        if not words:
            report.problem("empty expression", file, f"{sentence!r} has no words")
        targets.setdefault(words, set()).add(str(expression.get("annotation_id")))
        if expression.get("segmentation") is not None and size is not None:
            _inspect_mask(expression, size, file, report)
    for words, meant in targets.items():
        if len(meant) > 1:
            detail = f"{' '.join(words)!r} means the annotations {' and '.join(sorted(meant))}"
            report.problem("expression of different objects", file, detail)


def _inspect_mask(
    expression: dict[str, Any], size: tuple[int, int], file: str, report: Report
) -> None:
    what = f"{expression['sentence']!r}, annotation {expression.get('annotation_id')}"
    segmentation = expression["segmentation"]
    if isinstance(segmentation, np.ndarray):
        report.problem("unusable mask", file, f"{what}: an array; use polygons or an RLE")
        return
    try:
        segmentation = sound_segmentation(segmentation, size)
    except ValueError as error:
        report.problem("unusable mask", file, f"{what}: {error}")
        return
    report.formats["polygon" if isinstance(segmentation, list) else "RLE"] += 1
    if overhang(segmentation, size) > _MAX_OVERHANG:
        pixels = overhang(segmentation, size)
        report.problem("mask leaves its image", file, f"{what}: by {pixels:.1f} pixels")
    if mask_util.area(to_rle(segmentation, size)) == 0:
        report.problem("empty mask", file, what)


def summarize(entries: Iterable[dict[str, Any]], report: Report) -> None:
    """Add to ``report`` the numbers of expressions and words of a whole data set."""
    counts: Counter = Counter()
    words: Counter = Counter()
    longest = 0
    for entry in entries:
        listed = Counter()
        for expression in entry["expressions"]:
            split = words_of(expression["sentence"])
            words.update(split)
            longest = max(longest, len(split))
            counts["all"] += 1
            counts["empty"] += expression.get("segmentation") is None
            listed[tuple(split), str(expression.get("annotation_id"))] += 1
        counts["doubled"] += sum(times - 1 for times in listed.values())
    report.facts.append(
        f"{counts['all']} expressions, {counts['empty']} of them without a target; "
        f"{len(words)} different words, up to {longest} in one expression"
    )
    if counts["doubled"]:
        report.hints.append(
            f"{counts['doubled']} expressions are said more than once of the same object; in "
            "training they count as often"
        )
