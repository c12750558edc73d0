"""mIoU near the borders, worked out by hand."""

import numpy as np
import pytest
from detectron2.data import MetadataCatalog

from d2seg.config.loading import load_config
from d2seg.evaluation import BoundaryEvaluator, SemanticEvaluator, build_evaluator
from d2seg.evaluation.boundary import boundary_band, mean_iou
from evaluation.evaluation_cases import (
    SEMANTIC_NAME,
    evaluate,
    make_semantic,
    semantic_output,
    unregister,
)

IGNORE = 255


@pytest.fixture(autouse=True)
def clean_catalog():
    yield
    unregister(SEMANTIC_NAME)


def test_band_of_a_straight_border():
    labels = np.array([[0, 0, 0, 0, 1, 1, 1, 1]] * 3)
    for width in (1, 2, 3):
        band = boundary_band(labels, width, ignore_value=IGNORE)
        assert (band == np.array([4 - width <= x < 4 + width for x in range(8)])).all()


def test_a_single_pixel_and_its_surroundings():
    labels = np.full((7, 7), 2)
    labels[3, 3] = 0
    band = boundary_band(labels, 2, ignore_value=IGNORE)
    expected = np.zeros((7, 7), bool)
    expected[1:6, 1:6] = True
    assert (band == expected).all()


def test_ignored_pixels_make_no_border_and_are_in_no_band():
    labels = np.array([[0, 0, IGNORE, 0, 1, IGNORE, 1]])
    band = boundary_band(labels, 1, ignore_value=IGNORE)
    assert band.tolist() == [[False, False, False, True, True, False, False]]
    # across an ignored pixel two classes still meet
    band = boundary_band(np.array([[0, IGNORE, 1]]), 2, ignore_value=IGNORE)
    assert band.tolist() == [[True, False, True]]


def test_one_class_and_nothing_at_all():
    assert not boundary_band(np.zeros((4, 4), int), 3, ignore_value=IGNORE).any()
    assert not boundary_band(np.full((4, 4), IGNORE), 3, ignore_value=IGNORE).any()
    assert np.isnan(mean_iou(np.zeros((4, 4), int)))


def test_evaluator_counts_the_band_alone(tmp_path):
    labels = np.array([[0] * 8 + [1] * 8], np.uint8)
    prediction = np.array([[1] + [0] * 8 + [1] * 7])  # wrong far away, and at the border
    name = make_semantic(tmp_path, [labels], 3, IGNORE)
    pairs = [({"file_name": "0.jpg"}, semantic_output(prediction, 3))]
    with_band = evaluate(BoundaryEvaluator(name, width=2), pairs)["sem_seg"]
    # in the band, truth 0 0 1 1 and prediction 0 0 0 1: class 0 has 2 of 3, class 1 has 1 of 2
    assert with_band.pop("boundary_mIoU") == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)
    plain = evaluate(SemanticEvaluator(name), pairs)["sem_seg"]
    np.testing.assert_equal(dict(with_band), dict(plain))


def test_the_config_chooses_it(tmp_path):
    name = make_semantic(tmp_path, [np.zeros((2, 2), np.uint8)], 3, IGNORE)
    cfg = load_config(None, ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "3"])
    assert type(build_evaluator(cfg, name, None, ["semantic"])) is SemanticEvaluator
    cfg.TEST.BOUNDARY_WIDTH = 3
    assert type(build_evaluator(cfg, name, None, ["semantic"])) is BoundaryEvaluator
    MetadataCatalog.get(name).set(evaluator_type="volumes")
    with pytest.raises(ValueError, match=r"TEST\.BOUNDARY_WIDTH is 3.* set it to 0"):
        build_evaluator(cfg, name, None, ["semantic"])
    with pytest.raises(ValueError, match="1 pixel wide at least"):
        BoundaryEvaluator(name, width=-1)
