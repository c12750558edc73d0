"""Data sets in COCO's formats with one thing wrong, made of small sound ones."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from dataset_files import (
    H,
    W,
    annotation,
    coco_json,
    square_rle,
    unique_name,
    write_image,
    write_panoptic,
)

from d2seg.data.datasets.categories import Category
from d2seg.data.datasets.registration import register_dataset

CATEGORIES = [
    Category(5, "table", True, (1, 2, 3)),
    Category(7, "floor", False, (4, 5, 6)),
    Category(9, "chair", True, (7, 8, 9)),
]
SQUARE = [3, 2, 8, 2, 8, 6, 3, 6]
NAN, FAR = float("nan"), 1e9
# The square of the sound annotation: 4 rows, 5 columns
RUNS = [3 * H + 2, 4, H - 4, 4, H - 4, 4, H - 4, 4, H - 4, 4, 9 * H - 6]


def rle(counts: Any, size: Any = (H, W)) -> dict:
    return {"size": list(size), "counts": counts}


# what is put in the place of a sound mask, and what the message says of it
BAD_MASKS: dict[str, tuple[Any, str]] = {
    "NaN": ([[*SQUARE[:-1], NAN]], "far outside of its 16x12 image"),
    "NaN first": ([[NAN, *SQUARE[1:]]], "far outside"),
    "infinite": ([[*SQUARE[:-1], float("inf")]], "far outside"),
    "1e9": ([[*SQUARE[:-1], FAR]], "far outside"),
    "3e7": ([[3e7, *SQUARE[1:]]], "far outside"),
    "-1e9": ([[-FAR, *SQUARE[1:]]], "far outside"),
    "10 ** 400": ([[10**400, *SQUARE[1:]]], "far outside"),
    "text": ([["3", *SQUARE[1:]]], "no list of numbers"),
    "null": ([[None, *SQUARE[1:]]], "no list of numbers"),
    "truth values": ([[True] * 6], "no list of numbers"),
    "flat": (SQUARE, "one flat list of numbers"),
    "a word": ("mask", "neither a list of polygons nor an RLE"),
    "foreign size": (rle([0, 10**12], (10**6, 10**6)), "RLE is 1000000x1000000, its image 12x16"),
    "foreign text": (rle("0" * 20, (10**6, 10**6)), "RLE is 1000000x1000000"),
    "size turned": (square_rle((W, H)), "RLE is 16x12, its image 12x16"),
    "size of text": (rle(RUNS, ("12", "16")), "no size"),
    "no size": ({"counts": RUNS}, "no size"),
    "negative size": (rle(RUNS, (-H, -W)), "RLE is -12x-16"),
    "runs too short": (rle([*RUNS[:-1], 1]), "do not make 12x16 pixels"),
    "runs too long": (rle([*RUNS[:-1], 10**6]), "do not make"),
    "negative run": (rle([*RUNS[:-1], RUNS[-1] + 7, -7]), "do not make"),
    "run of text": (rle(["1"]), "no 'counts'"),
    "run of NaN": (rle([NAN, 3]), "no 'counts'"),
    "no runs": (rle([]), "do not make"),
    "empty text": (rle(""), "do not make"),
    "odd text": (rle("0000"), "do not make"),
    "endless text": (rle("o" * 500), "do not make"),
    "text beyond ASCII": (rle("0Pé"), "do not make"),
}


def instances(root: Path, edit: Callable[[dict], object] = lambda content: None) -> dict:
    """Registers two images, with a polygon and an RLE; returns its name, file and content."""
    for number in range(2):
        write_image(root / f"{number:03d}.jpg")
    content = coco_json(
        [annotation(), annotation(image_id=1, category_id=9, segmentation=square_rle())], 2
    )
    edit(content)
    return _registered(root, "instance", content, {"images": root})


def panoptic(root: Path, edit: Callable[[dict], object] = lambda content: None) -> dict:
    segments = [
        {"id": 300, "category_id": 9, "area": H * W // 2},
        {"id": 70000, "category_id": 7, "area": H * W // 2},
    ]
    content = json.loads(write_panoptic(root, segments).read_text())
    edit(content)
    return _registered(
        root, "panoptic", content, {"images": root / "images", "panoptic": root / "png"}
    )


def _registered(root: Path, task: str, content: dict, paths: dict) -> dict:
    file = root / "wrong.json"
    file.write_text(json.dumps(content))
    name = unique_name("faulty")
    register_dataset(name, task, {"annotations": file, **paths}, CATEGORIES)
    return {"name": name, "file": file, "content": content}


def put(*path: str | int, value: Any) -> Callable[[dict], None]:
    """An edit of a JSON content: sets what is at ``path``."""

    def edit(content: dict) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = copy.deepcopy(value)

    return edit


def drop(*path: str | int) -> Callable[[dict], None]:
    def edit(content: dict) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return edit


def twice(key: str) -> Callable[[dict], None]:
    """An edit that repeats the first entry of a list."""
    return lambda content: content[key].append(copy.deepcopy(content[key][0]))


def square_mask() -> np.ndarray:
    mask = np.zeros((H, W), bool)
    mask[2:6, 3:8] = True
    return mask


_MASK, _KEYPOINTS = ("annotations", 0, "segmentation"), ("annotations", 0, "keypoints")
_NO_MASK = "neither a list of polygons nor an RLE"
# edits of instances, and what the message says
MORE_REFUSED = {
    "points one deeper": (put(*_MASK, value=[[[3, 2], [8, 2], [8, 6]]]), "no list of numbers"),
    "an empty object": (put(*_MASK, value={}), _NO_MASK),
    "a mask of false": (put(*_MASK, value=False), _NO_MASK),
    "a mask of 0": (put(*_MASK, value=0), _NO_MASK),
    "a mask of no text": (put(*_MASK, value=""), _NO_MASK),
    "key points of text": (put(*_KEYPOINTS, value="x"), "'keypoints' is 'x'; it is x, y"),
    "key points of NaN": (put(*_KEYPOINTS, value=[NAN, 1, 2]), "'keypoints' is [nan, 1, 2]"),
    "key points of 1e9": (put(*_KEYPOINTS, value=[1, FAR, 2]), "'keypoints' is"),
    "two numbers of a key point": (put(*_KEYPOINTS, value=[1, 2]), "'keypoints' is [1, 2]"),
}
