"""Kinds of errors by hand, one detection each; crowds; counts and costs against the official tool.
AP against pycocotools is in test_report."""

import numpy as np
import pycocotools.mask as mask_util
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


def test_what_is_a_duplicate_and_of_a_wrong_class_counts_as_of_a_wrong_class() -> None:
    judged = tide.judge([image([(0.3, 0), (0.8, 0)], [0, 1], [[0.9, 0.7], [0.95, 0]])])
    assert judged.kinds.tolist() == [tide.CLASSIFICATION, tide.RIGHT]


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


def drawn_images(crowds: float) -> list[tide.ImageObjects]:
    """40 pictures with up to 7 boxes of 4 classes, each found up to 3 times, well or badly."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(40):
        truth: list[tuple[int, np.ndarray, bool]] = []
        found: list[tuple[int, np.ndarray, float]] = []
        for _ in range(rng.integers(0, 8)):
            box = np.concatenate([rng.uniform(0, 200, 2), rng.uniform(20, 100, 2)])
            truth.append((int(rng.integers(4)), box, bool(rng.uniform() < crowds)))
            for _ in range(rng.integers(0, 4)):
                noise = rng.choice([0.05, 0.2, 0.5]) * rng.normal(size=4)
                moved = [box[:2] + noise[:2] * box[2:], box[2:] * np.exp(noise[2:] / 2)]
                number = truth[-1][0] if rng.uniform() < 0.8 else int(rng.integers(4))
                found.append((number, np.concatenate(moved), float(rng.uniform())))
        crowd = [int(is_crowd) for _, _, is_crowd in truth]
        boxes = [box.tolist() for _, box, _ in found], [box.tolist() for _, box, _ in truth]
        ious = mask_util.iou(*boxes, crowd) if found else []
        images.append(
            tide.ImageObjects(
                np.array([score for _, _, score in found], float),
                np.array([number for number, _, _ in found], int),
                np.array([number for number, _, _ in truth], int),
                np.asarray(ious, float).reshape(len(found), len(truth)),
                np.array(crowd, bool),
            )
        )
    return images


# what tidecv 1.0.1 says of these boxes: AP50 and what each kind costs, in percent; how many there are
OFFICIAL = {
    0.0: ([26.551274, 8.728341, 18.447725, 1.031676, 1.583947, 1.041050, 12.467883], [17, 56, 9, 21, 11, 40]),
    0.1: ([26.086186, 9.009852, 19.005579, 1.306868, 1.620253, 1.111719, 11.789833], [17, 54, 12, 18, 19, 35]),
}  # fmt: skip


@pytest.mark.parametrize("crowds", OFFICIAL)
def test_counts_and_costs_are_the_official_tools(crowds: float) -> None:
    expected, official_counts = OFFICIAL[crowds]
    judged = tide.judge(drawn_images(crowds))
    base = tide.mean_ap(judged, 4)
    costs = [tide.mean_ap(judged, 4, kind) - base for kind in range(len(tide.KINDS))]
    assert [100 * value for value in (base, *costs)] == pytest.approx(expected, abs=1e-6)
    found = np.bincount(judged.kinds, minlength=tide.IGNORED + 1)
    counts = [*found[tide.CLASSIFICATION : tide.IGNORED], judged.is_missed.sum()]
    if crowds:  # what lies in one of its class is no error here, and one without a cost there
        counts = [sum(counts) + found[tide.IGNORED]]
        official_counts = [sum(official_counts)]
    assert counts == official_counts
