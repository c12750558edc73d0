"""Tiles side by side: whose detection counts, and what is one object. Worked out by hand.

Tiles of 40 pixels that share 20, of a picture 20 pixels high.
"""

import pytest
import torch

from d2seg.views.joining import Detection, join_detections, owner_of
from d2seg.views.mask_crops import Crop, PackedCrop
from d2seg.views.panoptic_map import PanopticMap
from d2seg.views.settings import TileSettings
from d2seg.views.tiles import Tile, tiles_of


def tiles(width: int) -> list[Tile]:
    return list(tiles_of((20, width), TileSettings(40, 20)))


def bar(left: int, right: int, top: int = 5, bottom: int = 10) -> Crop:
    return Crop(torch.ones(bottom - top, right - left).bool(), top, left)


def found(tile: int, left: int, right: int, score: float, category: int = 0) -> Detection:
    box = [float(left), 5.0, float(right), 10.0]
    return Detection(PackedCrop(bar(left, right)), box, score, category, frozenset([tile]))


def joined(detections: list[Detection], width: int = 60) -> list[tuple[int, int, float, int]]:
    """(left, right, score, category), best first."""
    result = join_detections(detections, tiles(width))
    return [(one.crop.left, one.crop.right, one.score, one.category) for one in result]


def test_cores_end_in_the_middle_of_what_tiles_share() -> None:
    assert [tile.area[1::2] for tile in tiles(60)] == [(0, 40), (20, 60)]
    assert [tile.core[1::2] for tile in tiles(60)] == [(0, 30), (30, 60)]


@pytest.mark.parametrize(
    ("left", "right", "tile", "owner"),
    [(20, 38, 0, 0), (24, 38, 0, 1), (24, 36, 0, 0), (24, 36, 1, 1), (0, 5, 1, 0)],
)
def test_owners(left: int, right: int, tile: int, owner: int) -> None:
    assert owner_of(bar(left, right), tile, tiles(60)) == owner


def test_what_an_owner_sees_whole_is_as_it_says() -> None:
    own = found(0, 21, 34, 0.6)
    assert joined([own, found(1, 22, 34, 0.9)]) == [(21, 34, 0.6, 0)]
    assert joined([own, found(1, 20, 34, 0.9, category=2)]) == [(21, 34, 0.6, 0)]  # cut, misread
    assert joined([found(1, 22, 34, 0.9)]) == []  # tile 0, which owns it, has not seen it


def test_a_part_that_is_much_surer_than_the_whole_stays() -> None:
    whole, part = found(0, 10, 34, 0.2), found(1, 20, 34, 0.9, category=2)
    owned_part = found(1, 20, 45, 0.9, category=2)
    assert (20, 45, 0.9, 2) in joined([whole, owned_part])
    assert joined([whole, part]) == [(10, 34, 0.2, 0)]  # tile 0 sees all of this, too


def test_an_object_that_touches_what_an_owner_sees_whole_stays() -> None:
    whole, large = found(0, 12, 24, 0.9), found(1, 22, 60, 0.8)
    assert joined([whole, large], width=80) == [(12, 24, 0.9, 0), (22, 60, 0.8, 0)]


def test_a_mask_over_two_objects_does_not_make_them_one() -> None:
    first, second, both = found(0, 22, 28, 0.8), found(1, 34, 38, 0.7), found(0, 22, 40, 0.9)
    assert joined([first, both, second]) == [(22, 28, 0.8, 0), (34, 38, 0.7, 0)]


def test_what_all_tiles_cut_is_joined() -> None:
    parts = [found(0, 5, 40, 0.6), found(1, 20, 60, 0.9), found(2, 40, 75, 0.7)]
    assert joined(parts, width=80) == [(5, 75, 0.9, 0)]


def segment(number: int, category: int = 0) -> dict:
    return {"id": number, "isthing": True, "category_id": category, "score": 0.9}


def panoptic(width: int, *bars: list[tuple[int, int, int]]) -> dict[tuple[int, int], int]:
    """Of a list for each tile of (left, right, category): (left, right) of each segment found, and
    its category."""
    result = PanopticMap((20, width), tiles(width))
    for tile, found_there in zip(tiles(width), bars, strict=True):
        ids = torch.zeros(20, 40, dtype=torch.int32)
        for number, (left, right, _) in enumerate(found_there, start=1):
            ids[5:10, left - tile.area[1] : right - tile.area[1]] = number
        infos = [segment(n, category) for n, (*_, category) in enumerate(found_there, start=1)]
        result.add(tile, ids, infos)
    ids, infos = result.result()
    extents = {}
    for info in infos:
        columns = (ids == info["id"]).any(0).nonzero()[:, 0]
        extents[int(columns[0]), int(columns[-1]) + 1] = info["category_id"]
    return extents


def test_panoptic_segments_have_owners_too() -> None:
    assert panoptic(60, [(21, 34, 0)], [(20, 34, 2)]) == {(21, 34): 0}
    assert panoptic(60, [(21, 34, 0)], [(22, 34, 0)]) == {(21, 34): 0}
    assert panoptic(60, [], [(22, 34, 0)]) == {}
    assert panoptic(60, [(5, 40, 0)], [(20, 50, 0)]) == {(5, 50): 0}


def test_things_and_stuff_may_be_told_by_numbers() -> None:
    result = PanopticMap((20, 40), tiles(40))
    ids = torch.ones(20, 40, dtype=torch.int32)
    ids[5:10, 5:10] = 2
    segments = [
        {"id": 1, "isthing": 0, "category_id": 3},
        {"id": 2, "isthing": 1, "category_id": 0},
    ]
    result.add(tiles(40)[0], ids, segments)
    found, infos = result.result()
    assert [info["category_id"] for info in infos] == [3, 0]
    assert int((found == infos[1]["id"]).sum()) == 25


def test_a_segment_over_two_things_does_not_make_them_one() -> None:
    found_there = [(22, 30, 0)], [(20, 60, 0)], [(48, 58, 0)]
    # beyond its core, the middle one fills what nobody else claims
    assert panoptic(80, *found_there) == {(20, 60): 0, (48, 58): 0}
