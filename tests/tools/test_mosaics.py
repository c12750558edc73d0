"""Mosaics of pictures, and what was found in each picture laid as a mosaic has it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIDE = 10  # of a mosaic of 2 x 2 pictures of 8 x 8, half of one cut off above and to the left


@pytest.fixture
def tool(repo_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(repo_dir / "tools" / "benchmarking"))
    import mosaics

    return mosaics


def scene(number: int) -> tuple[np.ndarray, np.ndarray, list[dict[str, Any]]]:
    """A thing of 4 x 4 in the middle, of the picture's number as its class, on stuff of class 9."""
    ids = np.full((8, 8), 2)
    ids[2:6, 2:6] = 1
    segments = [
        {"id": 1, "category_id": number, "isthing": True, "area": 16},
        {"id": 2, "category_id": 9, "isthing": False, "area": 48},
    ]
    return np.full((8, 8, 3), number, np.uint8), ids, segments


def test_each_picture_once_and_then_the_first_ones(tool: Any) -> None:
    assert list(tool.mosaics(9, 8, SIDE)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert list(tool.mosaics(3, 8, SIDE)) == [[0, 1, 2, 0]]


def test_what_was_found_lies_where_the_mosaic_has_it(tool: Any) -> None:
    scenes = [scene(number) for number in range(4)]
    picture, ids, segments = tool.window_of(scenes, (4, 4), SIDE)
    assert picture[0, 0, 0] == 0
    assert picture[-1, -1, 0] == 3
    things = {info["category_id"]: info for info in segments if info["isthing"]}
    assert {number: info["area"] for number, info in things.items()} == {0: 4, 1: 8, 2: 8, 3: 16}
    # what is left of a thing is scored where it is most of it
    assert {number: info["iscrowd"] for number, info in things.items()} == {0: 1, 1: 1, 2: 1, 3: 0}
    assert [info["area"] for info in segments if not info["isthing"]] == [SIDE**2 - 36]
    found = [
        tool.Found((own, infos), [own == 1], [0.5 + number / 10], [number])
        for number, (_, own, infos) in enumerate(scenes)
    ]
    laid = tool.laid(found, 8, SIDE)
    for mask, category, score in zip(laid.masks, laid.classes, laid.scores, strict=True):
        assert np.array_equal(mask, ids == things[category]["id"])
        assert score == 0.5 + category / 10
    classes = {info["id"]: info["category_id"] for info in segments}
    laid_classes = {info["id"]: info["category_id"] for info in laid.panoptic[1]}
    for own, laid_id in zip(ids.ravel(), laid.panoptic[0].ravel(), strict=True):
        assert classes[own] == laid_classes[laid_id]
    assert not any(info["iscrowd"] for info in laid.panoptic[1])


def test_classes_of_panoptic_fpn(tool: Any) -> None:
    segments = [{"isthing": True, "category_id": 7}, {"isthing": False, "category_id": 1}]
    assert [s["category_id"] for s in tool.in_one_numbering(segments, 8)] == [7, 8]
