"""Kinds of errors by hand, one detection each; crowds; AP against pycocotools is in test_report."""

import numpy as np
import pytest

from d2seg.evaluation.records import tide


def image(
    detections: list[tuple[float, int]],
    objects: list[int],
    ious: list[list[float]],
    crowd: tuple[int, ...] = (),
) -> tide.ImageObjects:
    is_crowd = np.isin(np.arange(len(objects)), crowd)
    scores, classes = zip(*detections, strict=True) if detections else ((), ())
    shape = len(detections), len(objects)
    overlaps = np.array(ious, float).reshape(shape)
    return tide.ImageObjects(
        np.array(scores, float), np.array(classes, int), np.array(objects, int), overlaps, is_crowd
    )


@pytest.mark.parametrize(
    ("detection", "objects", "ious", "crowd", "kind", "num_missed"),
    [
        (0, [0], [0.5], (), tide.RIGHT, 0),
        (0, [0], [0.49], (), tide.LOCALISATION, 0),
        (0, [0], [0.09], (), tide.BACKGROUND, 1),
        (0, [1], [0.5], (), tide.CLASSIFICATION, 0),
        (0, [1], [0.49], (), tide.BOTH, 1),
        (0, [1], [0.09], (), tide.BACKGROUND, 1),
        (0, [], [], (), tide.BACKGROUND, 0),
        (0, [0], [0.9], (0,), tide.IGNORED, 0),  # a crowd is never missed
        (0, [1], [0.9], (0,), tide.BACKGROUND, 0),
        (0, [0, 1], [0.3, 0.8], (), tide.LOCALISATION, 1),
    ],
)
def test_kinds(
    detection: int,
    objects: list[int],
    ious: list[float],
    crowd: tuple[int, ...],
    kind: int,
    num_missed: int,
) -> None:
    judged = tide.judge([image([(0.5, detection)], objects, [ious], crowd)])
    assert judged.kinds.tolist() == [kind]
    assert judged.is_missed.sum() == num_missed


def test_the_better_detection_is_right_and_the_other_a_duplicate() -> None:
    judged = tide.judge([image([(0.3, 0), (0.8, 0)], [0], [[0.9], [0.6]])])
    assert judged.kinds.tolist() == [tide.DUPLICATE, tide.RIGHT]


def test_a_second_object_is_found_by_the_second_detection() -> None:
    judged = tide.judge([image([(0.9, 0), (0.8, 0)], [0, 0], [[0.9, 0.8], [0.85, 0.6]])])
    assert judged.kinds.tolist() == [tide.RIGHT, tide.RIGHT]


def test_objects_are_numbered_over_pictures() -> None:
    """The second picture's target is the third object, for the crowd has no number."""
    judged = tide.judge([image([], [0, 0, 0], [], crowd=(1,)), image([(0.5, 0)], [1], [[0.8]])])
    assert judged.targets.tolist() == [2]
    assert judged.is_missed.tolist() == [True, True, False]


def test_what_a_kind_costs() -> None:
    """Two objects of class 0: one found, one taken for class 1, of which there is one found."""
    judged = tide.judge(
        [
            image([(0.9, 0), (0.8, 1)], [0, 0], [[1, 0], [0, 1]]),
            image([(0.7, 1)], [1], [[1]]),
        ]
    )
    half = 51 / 101  # of the recalls up to 0.5
    assert tide.mean_ap(judged, 2) == pytest.approx((half + 0.5) / 2)
    assert tide.mean_ap(judged, 2, tide.KINDS.index("classification")) == pytest.approx(1)
    assert tide.mean_ap(judged, 2, tide.KINDS.index("both")) == tide.mean_ap(judged, 2)


def test_nothing_at_all() -> None:
    judged = tide.judge([])
    assert len(judged.kinds) == len(judged.truth_classes) == 0
    assert np.isnan(tide.mean_ap(judged, 2))
