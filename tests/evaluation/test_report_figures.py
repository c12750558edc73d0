"""Figures of a report, each by itself: boundary IoU, confidence and calibration, colours."""

import numpy as np
import pytest
import torch

from d2seg.evaluation.records.gallery import palette_of
from d2seg.evaluation.records.semantic import boundary_counts, calibration_counts
from d2seg.evaluation.semantic import confidences


def test_boundary_iou_is_that_of_eroded_masks() -> None:
    """The definition, mask by mask, with a structuring element of 3 x 3 as in the paper's code."""
    import cv2

    generator = np.random.default_rng(3)
    small = generator.integers(0, 4, (2, 9, 12)).astype(np.uint8)
    truth, found = (cv2.resize(x, (120, 90), interpolation=cv2.INTER_NEAREST) for x in small)
    truth, found = truth.astype(int), found.astype(int)
    distance = round(0.02 * np.hypot(90, 120))

    def band(mask: np.ndarray) -> np.ndarray:
        padded = np.pad(mask.astype(np.uint8), 1)
        kernel = np.ones((3, 3), np.uint8)
        eroded = cv2.erode(padded, kernel, iterations=distance)[1:-1, 1:-1]
        return mask & (eroded == 0)

    for k, (both, of_truth, of_found) in enumerate(boundary_counts(found, truth, 4)):
        bands = band(truth == k), band(found == k)
        assert both == (bands[0] & bands[1]).sum()
        assert (of_truth, of_found) == (bands[0].sum(), bands[1].sum())


def test_confidence_is_a_probability_or_unknown() -> None:
    logits = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    expected = logits.softmax(0).amax(0).numpy()
    np.testing.assert_allclose(confidences(logits), expected)
    np.testing.assert_allclose(confidences(logits.softmax(0)), expected)
    assert confidences(logits.sigmoid()) is None  # as sums over queries, of no known total
    assert confidences(logits.argmax(0)) is None


@pytest.mark.parametrize(
    ("colors", "is_taken"),
    [
        ([[1, 2, 3], [4, 5, 6]], True),
        ([[1, 2, 3], [1, 2, 3]], False),  # nobody could tell them apart
        ([[1, 2, 3], "#ff0000"], False),
        ([[1, 2, 3], [4, 5, 256]], False),
        ([[1, 2, 3], None], False),
    ],
)
def test_colors_of_the_data_set(colors: list, is_taken: bool) -> None:
    found = palette_of([{"id": i, "color": color} for i, color in enumerate(colors)])
    assert (found.tolist() == colors) == is_taken
    assert len(np.unique(found, axis=0)) == 2


def test_calibration_bins() -> None:
    counts = calibration_counts(np.array([0.0, 0.05, 1.0]), np.array([False, True, True]))
    assert counts[:, 0].tolist() == [2, *[0] * 13, 1]
    assert counts[0].tolist() == [2, 0.05, 1]
