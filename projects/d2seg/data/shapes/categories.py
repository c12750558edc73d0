"""The categories of the data set "shapes" and the label spaces made of them.

Ids in files ("dataset ids") differ from the contiguous ids of a model on purpose, so that a wrong
mapping shows.
"""

from typing import Any, NamedTuple


class Category(NamedTuple):
    """One class: ``id`` as in the JSON files, ``color`` (R, G, B) 0..255 for drawing results."""

    id: int
    name: str
    is_thing: bool
    color: tuple[int, int, int]


# Things first: the place in this tuple is the contiguous id.
CATEGORIES = (
    Category(1, "circle", True, (220, 40, 60)),
    Category(2, "square", True, (0, 82, 204)),
    Category(3, "triangle", True, (250, 170, 30)),
    Category(4, "star", True, (255, 236, 80)),
    Category(5, "ring", True, (150, 70, 190)),
    Category(6, "cross", True, (0, 150, 136)),
    Category(7, "heart", True, (245, 110, 170)),
    Category(8, "moon", True, (160, 235, 250)),
    Category(11, "sky", False, (110, 170, 225)),
    Category(12, "grass", False, (96, 160, 64)),
    Category(13, "water", False, (30, 90, 140)),
    Category(14, "sand", False, (222, 196, 140)),
    Category(15, "brick", False, (150, 84, 66)),
)
THINGS = tuple(c for c in CATEGORIES if c.is_thing)
STUFF = tuple(c for c in CATEGORIES if not c.is_thing)
CONTIGUOUS_ID = {c.name: i for i, c in enumerate(CATEGORIES)}


def thing_metadata() -> dict[str, Any]:
    """Names, colours and id map of the things alone, contiguous ids 0..7."""
    return {
        "thing_classes": [c.name for c in THINGS],
        "thing_colors": [list(c.color) for c in THINGS],
        "thing_dataset_id_to_contiguous_id": {c.id: i for i, c in enumerate(THINGS)},
    }


def semantic_metadata() -> dict[str, Any]:
    """Names and colours of all 13 classes, whose contiguous ids the semantic PNGs hold."""
    return {
        "stuff_classes": [c.name for c in CATEGORIES],
        "stuff_colors": [list(c.color) for c in CATEGORIES],
    }


def panoptic_metadata() -> dict[str, Any]:
    """Metadata like detectron2's "standard" COCO panoptic: names twice, id maps by kind."""
    names = [c.name for c in CATEGORIES]
    colors = [list(c.color) for c in CATEGORIES]
    ids = {c.id: i for i, c in enumerate(CATEGORIES)}
    return {
        "thing_classes": names,
        "thing_colors": colors,
        "stuff_classes": list(names),
        "stuff_colors": list(colors),
        "thing_dataset_id_to_contiguous_id": {c.id: ids[c.id] for c in THINGS},
        "stuff_dataset_id_to_contiguous_id": {c.id: ids[c.id] for c in STUFF},
    }
