import pytest
import torch
from detectron2.projects.point_rend import point_features as reference

from d2seg.layers import point_sample as module
from d2seg.layers.chunking import budget
from d2seg.layers.point_sample import (
    mask_uncertainty,
    most_uncertain_cells,
    point_sample,
    regular_grid_coords,
    sample_binary_masks,
    semantic_uncertainty,
    uncertain_point_coords,
)


def test_point_sample_by_hand() -> None:
    """A 2 x 3 map with centres at x = 1/6, 3/6, 5/6 and y = 1/4, 3/4."""
    features = torch.tensor([[[[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]]])
    points = {
        (1 / 6, 1 / 4): 1.0,  # a centre
        (5 / 6, 3 / 4): 32.0,
        (2 / 6, 1 / 4): 1.5,  # between two columns
        (1 / 2, 1 / 2): 9.0,  # between two rows
        (2 / 3, 1 / 2): 13.5,  # between four cells
        (0.0, 0.0): 0.25,  # the corner: three of four neighbours are zeros outside
        (-1.0, 0.5): 0.0,
    }
    values = point_sample(features, torch.tensor([list(points)]))
    torch.testing.assert_close(values, torch.tensor([[list(points.values())]]))


def test_point_sample_equals_the_reference() -> None:
    torch.manual_seed(0)
    features, coords = torch.randn(2, 3, 7, 5), torch.rand(2, 50, 2) * 1.4 - 0.2
    expected = reference.point_sample(features, coords, align_corners=False)
    torch.testing.assert_close(point_sample(features, coords), expected)


def test_point_sample_has_the_gradient_of_its_weights() -> None:
    features = torch.zeros(1, 1, 2, 2, requires_grad=True)
    point_sample(features, torch.tensor([[[0.375, 0.25]]])).sum().backward()
    torch.testing.assert_close(features.grad, torch.tensor([[[[0.75, 0.25], [0.0, 0.0]]]]))


def test_half_precision_maps_are_sampled_in_fp32() -> None:
    """bf16 coordinates would hit the wrong cells of a wide map."""
    features = torch.arange(256.0).expand(1, 1, 1, 256).bfloat16()
    coords = torch.tensor([[[200.5 / 256, 0.5], [251.5 / 256, 0.5]]])
    values = point_sample(features, coords)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, torch.tensor([[[200.0, 251.0]]]))


def test_no_maps() -> None:
    assert point_sample(torch.zeros(0, 3, 7, 7), torch.zeros(0, 5, 2)).shape == (0, 3, 5)
    coords = uncertain_point_coords(torch.zeros(0, 1, 7, 7), mask_uncertainty, 5, 3.0, 0.75)
    assert coords.shape == (0, 5, 2)
    indices, coords = most_uncertain_cells(torch.zeros(0, 7, 7), 5)
    assert indices.shape == (0, 5)
    assert coords.shape == (0, 5, 2)


def test_regular_grid() -> None:
    grid = regular_grid_coords(2, 2, "cpu")
    assert grid[1].tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    expected = reference.generate_regular_grid_point_coords(3, 7, "cpu")
    torch.testing.assert_close(regular_grid_coords(3, 7, "cpu"), expected)


def test_uncertainties_by_hand() -> None:
    masks = torch.tensor([[[-2.0, 0.5, 3.0]]])
    assert mask_uncertainty(masks).tolist() == [[-2.0, -0.5, -3.0]]
    classes = torch.tensor([[[1.0, 5.0], [4.0, 5.0], [3.0, 2.0]]])
    assert semantic_uncertainty(classes).tolist() == [[-1.0, 0.0]]


def test_uncertain_points_equal_the_reference() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 9, 6)
    torch.manual_seed(1)
    coords = uncertain_point_coords(logits, semantic_uncertainty, 40, 3, 0.75)
    torch.manual_seed(1)
    expected = reference.get_uncertain_point_coords_with_randomness(
        logits, lambda at_points: semantic_uncertainty(at_points)[:, None], 40, 3, 0.75
    )
    assert coords.shape == expected.shape == (3, 40, 2)
    # the order within the uncertain ones is free
    ours, theirs = (
        sorted(map(tuple, c[:, :30].flatten(0, 1).tolist())) for c in (coords, expected)
    )
    assert ours == theirs
    assert torch.equal(coords[:, 30:], expected[:, 30:])


def test_uncertain_points_gather_at_the_border_of_a_mask() -> None:
    torch.manual_seed(0)
    logits = torch.full((1, 1, 16, 16), -5.0)
    logits[..., 8:] = 5.0
    coords = uncertain_point_coords(logits, mask_uncertainty, 200, 8.0, 0.75)
    near = (coords[0, :, 0] - 0.5).abs() < 1.5 / 16
    # all fade into zeros at the outer border of the map, which is the other place without certainty
    outer = ((coords[0] - 0.5).abs() > 7.5 / 16).any(-1)
    assert (near | outer)[:150].all()
    assert near[:150].any()
    assert not (near | outer)[150:].all()


@pytest.mark.parametrize("importance_ratio", [0.0, 1.0])
def test_only_uniform_or_only_uncertain_points(importance_ratio: float) -> None:
    coords = uncertain_point_coords(
        torch.randn(2, 1, 4, 4), mask_uncertainty, 10, 1.0, importance_ratio
    )
    assert coords.shape == (2, 10, 2)


def test_more_points_than_cells_are_drawn_where_points_are_continuous() -> None:
    coords = uncertain_point_coords(torch.randn(1, 1, 2, 2), mask_uncertainty, 50, 3.0, 0.75)
    assert coords.shape == (1, 50, 2)


def test_points_stay_within_the_extent() -> None:
    torch.manual_seed(0)
    extent = torch.tensor([[[0.5, 0.25]], [[1.0, 1.0]]])  # (x, y) of each map
    coords = uncertain_point_coords(
        torch.randn(2, 1, 8, 8), mask_uncertainty, 500, 3.0, 0.5, extent
    )
    for half in (coords[:, :250], coords[:, 250:]):
        reached = half.amax(1)
        assert (reached <= extent[:, 0]).all()
        assert (reached > 0.9 * extent[:, 0]).all()


def test_the_choice_has_no_gradient() -> None:
    logits = torch.randn(1, 1, 4, 4, requires_grad=True)
    assert not uncertain_point_coords(logits, mask_uncertainty, 10, 3.0, 0.75).requires_grad


@pytest.mark.parametrize(("oversample", "importance"), [(0.5, 0.75), (3.0, 1.5), (3.0, -0.1)])
def test_impossible_ratios_are_refused(oversample: float, importance: float) -> None:
    with pytest.raises(ValueError, match=rf"in \[0, 1\], got {oversample} and {importance}"):
        uncertain_point_coords(torch.zeros(1, 1, 2, 2), mask_uncertainty, 4, oversample, importance)


def test_most_uncertain_cells_by_hand() -> None:
    uncertainty = torch.tensor([[[-3.0, -1.0], [-9.0, -0.5], [-2.0, -7.0]]])
    indices, coords = most_uncertain_cells(uncertainty, 2)
    assert indices.tolist() == [[3, 1]]
    torch.testing.assert_close(coords, torch.tensor([[[0.75, 0.5], [0.75, 1 / 6]]]))


@pytest.mark.parametrize("num_points", [7, 1000])
def test_most_uncertain_cells_equal_the_reference(num_points: int) -> None:
    """Bounded by the number of cells where more are asked for."""
    torch.manual_seed(0)
    uncertainty = torch.randn(2, 5, 6)
    indices, coords = most_uncertain_cells(uncertainty, num_points)
    expected = reference.get_uncertain_point_coords_on_grid(uncertainty[:, None], num_points)
    assert indices.shape == (2, min(num_points, 30))
    assert torch.equal(indices, expected[0])
    torch.testing.assert_close(coords, expected[1])


@pytest.mark.parametrize("shared", [False, True])
def test_binary_masks_are_sampled_as_their_float_copies(
    shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two masks at a time, the last one alone."""
    torch.manual_seed(0)
    masks = torch.rand(5, 20, 30) > 0.5
    coords = torch.rand(1 if shared else 5, 40, 2) * 1.2 - 0.1
    monkeypatch.setattr(module, "_PIXELS_AT_ONCE", budget(1300))
    expected = point_sample(masks[:, None].float(), coords.expand(5, -1, -1))[:, 0]
    assert torch.equal(sample_binary_masks(masks, coords), expected)


def test_no_binary_masks() -> None:
    assert sample_binary_masks(torch.zeros(0, 4, 4).bool(), torch.rand(1, 3, 2)).shape == (0, 3)
