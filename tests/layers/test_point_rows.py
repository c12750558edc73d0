"""Rows of sampled maps are those of ``point_sample``."""

import pytest
import torch

from d2seg.layers.point_rows import bilinear_corners, point_rows, sampling_format
from d2seg.layers.point_sample import point_sample

COORDS = torch.rand(2, 300, 2, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (1, 5)])
@pytest.mark.parametrize("prepared", [False, True])
def test_gathering_equals_grid_sample(size: tuple[int, int], prepared: bool) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, 6, *size)
    rows = point_rows(sampling_format(features) if prepared else features, COORDS)
    torch.testing.assert_close(rows, point_sample(features, COORDS).transpose(1, 2))


def test_gradients_flow() -> None:
    features = torch.randn(2, 3, 5, 5, requires_grad=True)
    point_rows(features, COORDS).square().sum().backward()
    assert features.grad.abs().sum() > 0


def test_half_precision_maps_are_sampled_in_full() -> None:
    features = torch.randn(2, 3, 5, 5).bfloat16()
    rows = point_rows(features, COORDS)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, point_sample(features.float(), COORDS).transpose(1, 2))


def test_no_map_and_no_point() -> None:
    assert point_rows(torch.zeros(0, 3, 4, 4), torch.zeros(0, 5, 2)).shape == (0, 5, 3)
    assert point_rows(torch.zeros(2, 3, 4, 4), torch.zeros(2, 0, 2)).shape == (2, 0, 3)


def test_points_far_away_and_nowhere() -> None:
    coords = torch.tensor([[[1e30, 0.5], [-1e30, 0.5], [float("nan"), 0.5]]])
    assert point_rows(torch.ones(1, 2, 4, 4), coords).tolist() == [[[0.0, 0.0]] * 3]


def test_cells_of_a_map_that_fp32_cannot_count() -> None:
    """Beyond 2^24 cells only every other index is a number of fp32."""
    height, width = 4100, 4101
    centres = torch.tensor([[[x + 0.5, height - 0.5] for x in range(width - 4, width)]])
    indices, weights = bilinear_corners(centres, height, width)
    last = height * width
    assert indices[0, :, 0].tolist() == [last - 4, last - 3, last - 2, last - 1]
    assert weights[0].tolist() == [[1.0, 0.0, 0.0, 0.0]] * 4
