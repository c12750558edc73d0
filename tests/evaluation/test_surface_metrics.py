"""Dice and HD95 on cases worked out by hand, and against a search over all pairs of voxels."""

import itertools
import math

import numpy as np
import pytest
import torch

from d2seg.evaluation.surface_metrics import dice, hd95

UNIT = (1.0, 1.0, 1.0)


def box(*corners: tuple[int, int], size: int = 12) -> np.ndarray:
    """True between (start, stop) along each axis."""
    mask = np.zeros((size,) * len(corners), bool)
    mask[tuple(slice(*corner) for corner in corners)] = True
    return mask


def surface_by_definition(mask: np.ndarray) -> np.ndarray:
    """Coordinates (n, d) of voxels with a neighbour along an axis that is outside."""
    padded = np.pad(mask, 1)
    found = []
    for place in np.argwhere(mask):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            neighbour = place + 1
            neighbour[axis] += step
            if not padded[tuple(neighbour)]:
                found.append(place)
                break
    return np.array(found)


def hd95_by_definition(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> float:
    places = [surface_by_definition(mask) * np.array(spacing) for mask in (a, b)]
    pairs = np.linalg.norm(places[0][:, None] - places[1][None], axis=-1)
    distances = sorted([*pairs.min(1), *pairs.min(0)])
    rank = 0.95 * (len(distances) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(distances) - 1)
    return distances[below] + (rank - below) * (distances[above] - distances[below])


def test_dice() -> None:
    a, b = box((0, 4), (0, 4), (0, 4)), box((2, 6), (0, 4), (0, 4))
    assert dice(a, a) == 1
    assert dice(a, b) == 2 * 32 / 128
    assert dice(a, box((8, 9), (8, 9), (8, 9))) == 0


def test_what_is_empty() -> None:
    some, none = box((0, 2), (0, 2), (0, 2)), np.zeros((12, 12, 12), bool)
    assert math.isnan(dice(none, none))
    assert dice(some, none) == dice(none, some) == 0
    for pair in [(none, none), (some, none), (none, some)]:
        assert math.isnan(hd95(*pair, UNIT))


def test_single_voxels() -> None:
    a, b = box((1, 2), (1, 2), (1, 2)), box((1, 2), (4, 5), (5, 6))
    assert hd95(a, b, UNIT) == 5
    assert hd95(a, b, (1.0, 2.0, 1.0)) == pytest.approx(math.hypot(6, 4))
    assert hd95(a, a, UNIT) == 0


def test_the_percentile_leaves_out_the_farthest() -> None:
    """A line of 20 and the same with one voxel more at distance 5: of 41 distances one is 5."""
    a = box((0, 1), (0, 1), (0, 20), size=26)
    b = a.copy()
    b[0, 0, 24] = True
    assert hd95(a, b, UNIT) == 0
    assert hd95(a[..., :3], b[..., :3], UNIT) == 0
    short = box((0, 1), (0, 1), (0, 3), size=26)
    with_outlier = short.copy()
    with_outlier[0, 0, 7] = True
    # distances 0, 0, 0 and 0, 0, 0, 5: rank 0.95 * 6 = 5.7 lies at 0.7 of the way from 0 to 5
    assert hd95(short, with_outlier, UNIT) == pytest.approx(3.5)


def test_inside_voxels_do_not_count() -> None:
    """Two cubes around one centre: every surface voxel of the small one is 2 away or more."""
    large, small = box((1, 10), (1, 10), (1, 10)), box((3, 8), (3, 8), (3, 8))
    assert hd95(large, small, UNIT) == pytest.approx(hd95_by_definition(large, small, UNIT))
    assert hd95(large, small, UNIT) >= 2


@pytest.mark.parametrize("seed", range(12))
def test_equal_to_the_definition(seed: int) -> None:
    """Blobs anywhere, also at the border, in unequal spacing."""
    generator = np.random.default_rng(seed)
    masks = []
    for _ in range(2):
        noise = generator.uniform(size=(6, 9, 8))
        smooth = sum(np.roll(noise, shift, axis) for axis in range(3) for shift in (-1, 0, 1))
        masks.append(smooth > np.quantile(smooth, generator.uniform(0.5, 0.95)))
    spacing = tuple(generator.uniform(0.5, 3, 3)) if seed % 2 else UNIT
    expected = hd95_by_definition(*masks, spacing)
    assert hd95(*masks, spacing) == pytest.approx(expected, abs=1e-9)
    assert hd95(*masks[::-1], spacing) == pytest.approx(expected, abs=1e-9)


def test_equal_to_medpy() -> None:
    binary = pytest.importorskip("medpy.metric.binary")
    a, b = box((0, 5), (2, 9), (3, 8)), box((1, 7), (2, 8), (0, 6))
    assert dice(a, b) == binary.dc(a, b)
    assert hd95(a, b, (1.0, 1.5, 2.0)) == binary.hd95(a, b, (1.0, 1.5, 2.0))


def test_a_training_that_flushes_denormal_numbers_does_not_break_the_search_tree() -> None:
    volume = np.zeros((12, 40, 40), bool)
    volume[:, 2:30, 2:30] = True
    torch.set_flush_denormal(True)
    try:
        assert hd95(volume, np.roll(volume, 3, axis=2), (1.0, 1.0, 1.0)) == 3
    finally:
        torch.set_flush_denormal(False)
