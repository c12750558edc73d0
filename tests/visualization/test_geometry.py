"""Outlines of masks and places for labels."""

import numpy as np
import pytest
from detectron2.utils.visualizer import GenericMask

from d2seg.visualization import geometry
from d2seg.visualization.geometry import outlines, widest_place


def disc(size: int, radius: float, hole: float = 0.0) -> np.ndarray:
    center = np.arange(size) + 0.5 - size / 2
    distance = np.hypot(center[:, None], center[None])
    return (distance <= radius) & (distance >= hole)


def outline(mask: np.ndarray, factor: int):
    (path,) = outlines(mask, factor)
    return path


def signed_areas(path) -> list[float]:
    return [
        float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)
        for x, y in (polygon.T for polygon in path.to_polygons())
    ]


def test_the_outline_encloses_the_mask():
    mask = np.zeros((20, 30), bool)
    mask[5:15, 10:25] = True
    path = outline(mask, 4)
    (x0, y0), (x1, y1) = path.get_extents().get_points()
    # half a fine pixel inside the mask's own edges
    assert (x0, y0, x1, y1) == pytest.approx((10, 5, 25, 15), abs=0.2)


def test_holes_run_the_other_way_so_that_they_stay_open():
    ring = disc(64, 28, hole=14)
    areas = signed_areas(outline(ring, 4))
    assert len(areas) == 2
    assert np.sign(areas[0]) == -np.sign(areas[1])
    assert abs(sum(areas)) == pytest.approx(ring.sum(), rel=0.03)


def test_the_outline_is_smoother_than_a_chain_of_pixels():
    mask = disc(64, 20)
    (polygon,) = outline(mask, 4).to_polygons()
    (coarse,) = GenericMask(mask, 64, 64).polygons

    def error(points: np.ndarray, radius: float) -> float:
        return float(np.abs(np.hypot(*(points - 32).T) - radius).max())

    assert error(polygon, 20) < 0.7 * error(coarse.reshape(-1, 2), 20)


def test_a_single_pixel_and_no_pixel():
    mask = np.zeros((9, 9), bool)
    assert outlines(mask, 4) == outlines(mask[:0], 4) == []
    mask[4, 4] = True
    path = outline(mask, 4)
    assert path.get_extents().contains(4.5, 4.5)


def test_separate_parts_all_have_an_outline():
    mask = np.zeros((10, 30), bool)
    mask[2:8, 2:8] = mask[2:8, 12:18] = mask[2:8, 22:28] = True
    assert len(outline(mask, 2).to_polygons()) == 3


def test_a_label_goes_to_the_widest_part():
    mask = np.zeros((40, 60), bool)
    mask[19:21] = True  # a thin line
    mask[10:30, 35:55] = True  # a square, with its centre at (45, 20)
    assert widest_place(mask, 10, 4, []) == pytest.approx((45, 20), abs=1)


def test_a_label_of_a_ring_lies_on_the_ring():
    ring = disc(64, 30, hole=15)
    x, y = widest_place(ring, 6, 4, [])
    assert ring[int(y), int(x)]


def test_a_label_keeps_clear_of_others_and_inside_the_image():
    mask = np.ones((40, 80), bool)
    taken = []
    for _ in range(6):
        x, y = widest_place(mask, 30, 10, taken)
        box = (x - 15, y - 5, x + 15, y + 5)
        assert box[0] >= 0
        assert box[1] >= 0
        assert box[2] <= 80
        assert box[3] <= 40
        for other in taken:
            assert (
                box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1]
            )
        taken.append(box)


def test_no_place_is_left():
    mask = np.zeros((40, 80), bool)
    mask[10:20, 10:20] = True
    assert widest_place(mask, 20, 8, [(0, 0, 80, 40)]) is None
    assert widest_place(mask, 20, 8, [(40, 0, 80, 40)]) is not None


def test_a_label_wider_than_the_image_is_centred():
    x, _ = widest_place(np.ones((40, 20), bool), 50, 8, [])
    assert x == pytest.approx(10, abs=0.5)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("top_left", [(0, 0), (7, 9), (0, 11), (26, 32)])
def test_a_part_of_the_picture_is_traced_and_labelled_like_the_whole(factor, top_left):
    rng = np.random.default_rng(0)
    part = rng.random((14, 18)) < 0.7
    part[0, 0] = part[-1, -1] = True
    top, left = top_left
    whole = np.zeros((40, 50), bool)
    whole[top : top + 14, left : left + 18] = part
    (expected,), (found,) = outlines(whole, factor), outlines(part, factor, top_left, (40, 50))
    assert np.array_equal(found.codes, expected.codes)
    assert np.allclose(found.vertices, expected.vertices, atol=1e-9)
    taken = [(0.0, 0.0, 12.0, 9.0), (20.0, 12.0, 30.0, 20.0), (45.0, 35.0, 50.0, 40.0)]
    for size in ((1.0, 1.0), (6.0, 3.0), (60.0, 3.0)):
        for rectangles in ([], taken):
            place = widest_place(part, *size, rectangles, top_left, (40, 50))
            assert place == widest_place(whole, *size, rectangles)


def test_a_long_outline_is_several_paths_of_whole_parts(monkeypatch):
    monkeypatch.setattr(geometry, "_MAX_VERTICES", 50)
    mask = np.zeros((12, 60), bool)
    for left in range(1, 60, 10):
        mask[2:10, left : left + 8] = True
        mask[4:8, left + 2 : left + 6] = False  # a hole
    paths = outlines(mask, 2)
    assert len(paths) > 2
    assert sum(len(path.to_polygons()) for path in paths) == 12
    for path in paths:
        areas = signed_areas(path)
        assert sum(area > 0 for area in areas) == sum(area < 0 for area in areas)  # with its hole
