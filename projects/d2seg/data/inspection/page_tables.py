"""Tables and histograms of a page on data sets."""

import math
from collections.abc import Sequence
from typing import Any

from ...names import printable
from ...reports.page import NO_VALUE
from .drawing import class_names
from .duplicates import Duplicates
from .histograms import histograms_of
from .measures import Inspected

_MAX_LISTED = 8  # resolutions
_MAX_LEAKS = 200  # pairs of one table


def leaks_of(duplicates: Duplicates) -> list[dict[str, Any]]:
    """Pairs of splits, with the pictures that are in both."""
    return [
        {
            "first": printable(leak.first),
            "second": printable(leak.second),
            "rows": [[printable(a), printable(b)] for a, b in leak.pairs[:_MAX_LEAKS]],
            "num": len(leak.pairs),
        }
        for leak in duplicates.leaks
    ]


def class_tables(one: Inspected) -> list[dict[str, Any]]:
    """For each kind of annotation: classes with pictures, objects and pixels."""
    tables = []
    for source, counts in one.report.counts.items():
        names = class_names(one.metadata, source)
        total = max(sum(counts.pixels.values()), 1)
        most = max(counts.images.values(), default=1)
        has_objects = source != "semantic"
        largest = max(counts.instances.values(), default=1)
        columns = ["class", "id", ("pictures", "that show the class")]
        if has_objects:
            columns += ["objects", ("mean size", "square root of the mean area, in pixels")]
        columns.append(("pixels", "share of all pixels that have a class"))
        rows = []
        for number, name in enumerate(names):
            images, num = counts.images[number], counts.instances[number]
            pixels = counts.pixels[number]
            row = [printable(name), _cell(number), _cell(images, images / most)]
            if has_objects:
                side = (pixels / num) ** 0.5 if num else None
                row += [_cell(num, num / largest), _cell(side, digits=1)]
            row.append(_cell(100 * pixels / total, pixels / total, digits=2, unit=" %"))
            rows.append(row)
        absent = sum(not counts.images[number] for number in range(len(names)))
        tables.append(
            {
                "name": printable(one.name),
                "source": source,
                "columns": columns,
                "rows": rows,
                "num_absent": absent,
            }
        )
    return tables


def _cell(
    value: float | None, share: float | None = None, digits: int = 0, unit: str = ""
) -> dict[str, Any]:
    if value is None:
        return {"text": NO_VALUE}
    cell = {"text": f"{value:.{digits}f}{unit}", "value": round(value, 6)}
    return cell if share is None else {**cell, "share": share}


def histograms(inspected: Sequence[Inspected]) -> list[dict[str, Any]]:
    """Bars to be drawn; heights are shares of the highest one."""
    measures = [one.measures for one in inspected]
    sources = {source for one in inspected for source in one.report.counts}
    drawn = []
    for one in histograms_of(measures, is_semantic=sources <= {"semantic"}):
        shares = one.shares
        top = math.ceil(25 * max(max(row) for row in shares)) / 25  # whole numbers at the axis
        bins = [
            {
                "label": label,
                "bars": [
                    {
                        "height": shares[i][b] / top,
                        "title": f"{printable(inspected[i].name)}, {label}: {one.counts[i][b]} "
                        f"{one.what} ({100 * shares[i][b]:.1f} %)",
                    }
                    for i in range(len(inspected))
                ],
            }
            for b, label in enumerate(one.labels)
        ]
        drawn.append(
            {
                "title": one.title,
                "x_label": one.x_label,
                "y_label": f"% of {one.what}",
                "top": 100 * top,
                "bins": bins,
                "summary": _summary(one.labels, one.counts, inspected),
            }
        )
    return drawn


def _summary(
    labels: Sequence[str], counts: Sequence[Sequence[int]], inspected: Sequence[Inspected]
) -> str:
    """The histogram in words, for who does not see it."""
    texts = []
    for one, row in zip(inspected, counts, strict=True):
        bars = ", ".join(f"{label}: {n}" for label, n in zip(labels, row, strict=True) if n)
        texts.append(f"{printable(one.name)}: {bars or 'none'}")
    return "; ".join(texts)


def resolutions_of(one: Inspected) -> dict[str, Any]:
    """The most frequent sizes of pictures."""
    sizes = one.measures.resolutions
    most = max(sizes.values(), default=1)
    rows = [
        [f"{width} x {height}", _cell(n, n / most)]
        for (height, width), n in sizes.most_common(_MAX_LISTED)
    ]
    return {"name": printable(one.name), "rows": rows, "num": len(sizes)}
