"""Panoptic quality against cases worked out by hand; see also test_panoptic_quality_reference."""

import numpy as np
import pytest

from d2seg.evaluation.panoptic_quality import PanopticQuality

CATEGORIES = [
    {"id": 1, "isthing": 1},
    {"id": 4, "isthing": 1},
    {"id": 7, "isthing": 0},
    {"id": 9, "isthing": 0},
]


def segment(id_: int, category: int, **more: int) -> dict:
    return {"id": id_, "category_id": category, "iscrowd": 0, **more}


def score(pred, pred_segments, gt, gt_segments, categories=CATEGORIES) -> dict:
    quality = PanopticQuality(categories)
    quality.update(np.asarray(pred), pred_segments, np.asarray(gt), gt_segments, 42)
    return quality.compute()


def row(*runs: tuple[int, int]) -> list[list[int]]:
    """A map of one row, from (id, number of pixels)."""
    return [[id_ for id_, length in runs for _ in range(length)]]


# ---------------------------------------------------------------- by hand


def test_match_miss_and_false_positive():
    gt = row((1, 10), (2, 10))
    pred = row((5, 8), (6, 12))
    result = score(pred, [segment(5, 1), segment(6, 7)], gt, [segment(1, 1), segment(2, 9)])
    # class 1: IoU 8 / 10; class 7: one false positive; class 9: one miss
    assert result["per_class"][1] == pytest.approx({"pq": 0.8, "sq": 0.8, "rq": 1.0})
    assert result["per_class"][7] == {"pq": 0, "sq": 0, "rq": 0}
    assert result["per_class"][9] == {"pq": 0, "sq": 0, "rq": 0}
    assert result["All"] == pytest.approx({"pq": 0.8 / 3, "sq": 0.8 / 3, "rq": 1 / 3, "n": 3})
    assert result["Things"] == pytest.approx({"pq": 0.8, "sq": 0.8, "rq": 1.0, "n": 1})
    assert result["Stuff"] == pytest.approx({"pq": 0, "sq": 0, "rq": 0, "n": 2})


def test_iou_of_one_half_is_no_match():
    result = score(row((0, 5), (1, 5)), [segment(1, 1)], row((3, 10)), [segment(3, 1)], CATEGORIES)
    assert result["per_class"][1]["rq"] == 0
    just_more = score(row((0, 4), (1, 6)), [segment(1, 1)], row((3, 10)), [segment(3, 1)])
    assert just_more["per_class"][1] == pytest.approx({"pq": 0.6, "sq": 0.6, "rq": 1})


def test_two_pieces_of_one_object_count_once_as_match_and_once_as_false():
    result = score(
        row((1, 7), (2, 3)), [segment(1, 1), segment(2, 1)], row((3, 10)), [segment(3, 1)]
    )
    assert result["per_class"][1] == pytest.approx({"pq": 0.7 / 1.5, "sq": 0.7, "rq": 1 / 1.5})


def test_void_pixels_are_not_in_the_union():
    # 6 of the prediction's 12 pixels are void: IoU 6 / (12 + 6 - 6 - 6)
    result = score(row((1, 12)), [segment(1, 1)], row((3, 6), (0, 6)), [segment(3, 1)])
    assert result["per_class"][1] == {"pq": 1, "sq": 1, "rq": 1}


@pytest.mark.parametrize(("on_void", "spurious"), [(6, 0), (5, 1)])
def test_prediction_mostly_on_void_is_excused(on_void, spurious):
    pred = row((1, 10), (2, 10))
    gt = row((0, on_void), (3, 10 - on_void), (4, 10))
    result = score(pred, [segment(1, 1), segment(2, 7)], gt, [segment(3, 9), segment(4, 7)])
    # class 9 is a miss either way; class 1 counts only with a false positive
    assert result["All"]["n"] == 2 + spurious


@pytest.mark.parametrize(("category", "counted"), [(1, 0), (4, 1)])
def test_prediction_on_a_crowd_of_its_class_is_excused(category, counted):
    gt = [segment(3, 1, iscrowd=1)]
    result = score(row((1, 10)), [segment(1, category)], row((3, 10)), gt)
    assert result["All"]["n"] == counted  # the crowd itself is never a miss


def test_void_and_crowd_add_up():
    gt_segments = [segment(3, 1, iscrowd=1), segment(4, 9)]
    gt = row((0, 3), (3, 3), (4, 4))
    assert score(row((1, 10)), [segment(1, 1)], gt, gt_segments)["Things"]["n"] == 0


def test_unlisted_ground_truth_pixels_are_neither_void_nor_a_segment():
    # as in panopticapi: id 8 has no entry, and its pixels stay in the union
    result = score(row((1, 10)), [segment(1, 1)], row((3, 6), (8, 4)), [segment(3, 1)])
    assert result["per_class"][1]["pq"] == pytest.approx(0.6)


def test_the_stated_area_counts():
    result = score(row((1, 10)), [segment(1, 1)], row((3, 10)), [segment(3, 1, area=12)])
    assert result["per_class"][1]["pq"] == pytest.approx(10 / 12)


def test_empty_image():
    result = score(row((0, 4)), [], row((0, 4)), [])
    assert result["All"]["n"] == 0
    assert np.isnan(result["All"]["pq"])


def test_no_stuff_at_all_is_nan_and_not_an_error():
    result = score(row((1, 4)), [segment(1, 1)], row((3, 4)), [segment(3, 1)])
    assert result["Things"]["pq"] == 1
    assert np.isnan(result["Stuff"]["pq"])


def test_ground_truth_of_other_categories_is_ignored():
    gt = [segment(3, 100), segment(4, 1)]
    result = score(row((0, 4), (1, 4)), [segment(1, 1)], row((3, 4), (4, 4)), gt)
    assert result["All"] == {"pq": 1, "sq": 1, "rq": 1, "n": 1}


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("pred", "segments", "message"),
    [
        (row((1, 2), (2, 2)), [segment(1, 1)], r"image 42: segment 2 .*not in its segments_info"),
        (row((1, 4)), [segment(1, 1), segment(2, 1)], r"image 42: segments \[2\].*no pixel"),
        (row((1, 4)), [segment(1, 5)], r"image 42: .*segment 1 has the category 5"),
        (row((1, 4)), [segment(1, 1), segment(1, 4)], r"image 42: segment id 1 is used by two"),
        (row((0, 4)), [segment(0, 1)], r"image 42: segment id 0 is void"),
        (row((-1, 4)), [], r"image 42: .*ids in \[-1, -1\]"),
        (row((1, 5)), [segment(1, 1)], r"image 42: .*\(1, 5\).*\(1, 4\)"),
    ],
)
def test_bad_predictions_are_named(pred, segments, message):
    quality = PanopticQuality(CATEGORIES)
    with pytest.raises(ValueError, match=message):
        quality.update(np.array(pred), segments, np.array(row((3, 4))), [segment(3, 1)], 42)
    assert quality.compute()["All"]["n"] == 0  # nothing was counted
