"""The point head and adaptive subdivision."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from d2seg.layers.point_head import PointHead, subdivide
from d2seg.layers.point_sample import mask_uncertainty, point_sample


def point_head(coarse_at_every_layer: bool) -> PointHead:
    torch.manual_seed(0)
    head = PointHead(
        feature_channels=6,
        num_classes=4,
        hidden_dim=8,
        num_layers=2,
        coarse_at_every_layer=coarse_at_every_layer,
    )
    torch.nn.init.normal_(head.predictor.weight)
    torch.nn.init.normal_(head.predictor.bias)
    return head


@pytest.mark.parametrize("every_layer", [False, True])
def test_one_class_is_that_row_of_all_classes(every_layer: bool) -> None:
    head = point_head(every_layer)
    features, coarse = torch.randn(3, 10, 6), torch.randn(3, 10, 4)
    classes = torch.tensor([2, 0, 3])
    of_all = head(features, coarse)
    assert of_all.shape == (3, 10, 4)
    torch.testing.assert_close(
        head(features, coarse, classes)[..., 0], of_all[range(3), :, classes]
    )


@pytest.mark.parametrize("every_layer", [False, True])
def test_the_coarse_prediction_reaches_the_layers_that_are_said(every_layer: bool) -> None:
    head = point_head(every_layer)
    widths = [layer.in_features for layer in head.layers] + [head.predictor.in_features]
    assert widths == ([10, 12, 12] if every_layer else [10, 8, 8])


def test_no_region() -> None:
    head = point_head(True)
    empty = head(torch.zeros(0, 10, 6), torch.zeros(0, 10, 4), torch.zeros(0, dtype=torch.int64))
    assert empty.shape == (0, 10, 1)


@pytest.mark.parametrize("every_layer", [False, True])
def test_coarse_maps_are_sampled_at_the_points(every_layer: bool) -> None:
    head = point_head(every_layer)
    features, classes = torch.randn(3, 50, 6), torch.tensor([2, 0, 3])
    coarse, coords = torch.randn(3, 4, 5, 7), torch.rand(3, 50, 2) * 1.2 - 0.1
    coords[0, :2] = torch.tensor([[0.0, 1.0], [1.0, 0.0]])  # where values fade into zeros
    expected = head(features, point_sample(coarse, coords).mT, classes)
    torch.testing.assert_close(head.on_coarse_maps(features, coarse, coords, classes), expected)
    with torch.no_grad():
        found = head.on_coarse_maps(features, coarse, coords, classes)
        torch.testing.assert_close(found, expected)
        empty = head.on_coarse_maps(features[:0], coarse[:0], coords[:0], classes[:0])
    assert empty.shape == (0, 50, 1)


def test_all_points_give_the_function_itself() -> None:
    """With as many points as cells, each cell has what ``predict`` says at its centre."""
    fine = torch.randn(2, 1, 16, 16)
    result = subdivide(
        torch.zeros(2, 1, 4, 4),
        lambda coords: point_sample(fine, coords).mT,
        mask_uncertainty,
        num_steps=2,
        num_points=1000,
    )
    torch.testing.assert_close(result, fine)


def test_only_the_most_uncertain_cells_change() -> None:
    logits = torch.full((1, 1, 2, 2), 5.0)
    logits[..., 1, 1] = 0.1
    asked: list[Tensor] = []

    def predict(coords: Tensor) -> Tensor:
        asked.append(coords)
        return torch.full((1, coords.shape[1], 1), -9.0)

    result = subdivide(logits, predict, mask_uncertainty, num_steps=1, num_points=1)
    expected = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
    expected[..., 3, 3] = -9.0
    torch.testing.assert_close(result, expected)
    assert asked[0].tolist() == [[[0.875, 0.875]]]


def test_without_steps() -> None:
    logits = torch.randn(1, 1, 3, 3)
    assert subdivide(logits, torch.sin, mask_uncertainty, num_steps=0, num_points=5) is logits


def test_channels_last_logits_are_refined_too() -> None:
    fine = torch.randn(2, 3, 8, 8)
    result = subdivide(
        torch.zeros(2, 3, 4, 4).contiguous(memory_format=torch.channels_last),
        lambda coords: point_sample(fine, coords).mT,
        lambda logits: logits.sum(1),
        num_steps=1,
        num_points=64,
    )
    torch.testing.assert_close(result, fine)
