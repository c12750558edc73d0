"""Category tables of the data sets (JSON files beside this module) and the metadata they make.

The position of a category in its table is its contiguous id, the class number in the model.
"""

import colorsys
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Category:
    """One class: its id in the data set's own files, name, kind and colour (RGB, 0..255)."""

    id: int
    name: str
    is_thing: bool
    color: tuple[int, int, int]


def load_categories(table: str) -> list[Category]:
    """The categories of ``<table>.json`` in contiguous order; colours are made where none are."""
    path = Path(__file__).with_name(f"{table}.json")
    entries = json.loads(path.read_text(encoding="utf-8"))["categories"]
    colors = distinct_colors(len(entries))
    return [
        Category(e["id"], e["name"], e.get("thing", False), tuple(e.get("color", color)))
        for e, color in zip(entries, colors, strict=True)
    ]


def distinct_colors(count: int) -> list[tuple[int, int, int]]:
    """``count`` RGB colours (0..255), the same in every run, neighbours far apart in hue."""
    golden_ratio = 0.618034  # steps of it never come close to an earlier hue
    colors = []
    for i in range(count):
        hue, saturation, value = i * golden_ratio % 1, (0.85, 0.5)[i // 2 % 2], (1.0, 0.7)[i % 2]
        red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colors


def semantic_metadata(categories: list[Category]) -> dict[str, Any]:
    """Metadata of a label map whose values are contiguous ids."""
    return {
        "stuff_classes": [c.name for c in categories],
        "stuff_colors": [list(c.color) for c in categories],
    }


def instance_metadata(categories: list[Category]) -> dict[str, Any]:
    """Metadata of the things among ``categories``, numbered from 0 on their own."""
    things = [c for c in categories if c.is_thing]
    return {
        "thing_classes": [c.name for c in things],
        "thing_colors": [list(c.color) for c in things],
        "thing_dataset_id_to_contiguous_id": {c.id: i for i, c in enumerate(things)},
    }


def panoptic_metadata(categories: list[Category]) -> dict[str, Any]:
    """Metadata of things and stuff in one label space, as detectron2 has it for COCO panoptic.

    ``thing_classes`` and ``stuff_classes`` both hold all names, since detectron2's ``Visualizer``
    looks a contiguous id up in either; which ids are things is in the keys of the two id maps.
    """
    names = [c.name for c in categories]
    colors = [list(c.color) for c in categories]
    ids = {c: i for i, c in enumerate(categories)}
    return {
        "thing_classes": names,
        "thing_colors": colors,
        "stuff_classes": list(names),
        "stuff_colors": list(colors),
        "thing_dataset_id_to_contiguous_id": {c.id: i for c, i in ids.items() if c.is_thing},
        "stuff_dataset_id_to_contiguous_id": {c.id: i for c, i in ids.items() if not c.is_thing},
    }
