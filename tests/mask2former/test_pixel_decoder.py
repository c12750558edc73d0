"""Reference points and the FPN steps of the deformable pixel decoder."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from torch.nn import functional as F

from d2seg.mask2former.pixel_decoder import DeformableEncoder, DeformablePixelDecoder, cell_centers


def test_cell_centers() -> None:
    points = cell_centers([(1, 2), (2, 1)], torch.device("cpu"))
    assert points.shape == (1, 4, 2, 2)
    expected = [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]  # (x, y)
    for level in range(2):
        assert points[0, :, level].tolist() == expected


def test_encoder_keeps_sizes_and_mixes_levels() -> None:
    torch.manual_seed(0)
    encoder = DeformableEncoder(
        dim=16, num_levels=2, num_layers=1, num_heads=2, num_points=2, dim_feedforward=32
    ).eval()
    coarse, fine = torch.randn(2, 16, 3, 4), torch.randn(2, 16, 5, 7)
    first = encoder([coarse, fine])
    assert [level.shape for level in first] == [coarse.shape, fine.shape]
    second = encoder([coarse, fine + 1])
    assert not torch.allclose(first[0], second[0])


@pytest.mark.parametrize("batch_size", [1, 2])
def test_levels_are_channels_last_in_memory(batch_size: int) -> None:
    """As interpolation sees it: it keeps the layout, where a guess at another one costs copies."""
    encoder = DeformableEncoder(dim=16, num_levels=2, num_layers=1, num_heads=2, dim_feedforward=32)
    levels = encoder([torch.randn(batch_size, 16, 3, 4), torch.randn(batch_size, 16, 5, 7)])
    for level in levels:
        resized = F.interpolate(level, scale_factor=2, mode="bilinear")
        assert resized.is_contiguous(memory_format=torch.channels_last)


def test_order_of_the_levels_does_not_depend_on_the_config() -> None:
    shapes = {f"res{i}": ShapeSpec(channels=8 * i, stride=2**i) for i in (2, 3, 4, 5)}
    encoder = DeformableEncoder(dim=32, num_levels=3, num_layers=1, num_heads=2, dim_feedforward=32)
    decoder = DeformablePixelDecoder(
        dict(reversed(shapes.items())),
        encoder=encoder,
        encoder_features=["res4", "res3", "res5"],
        conv_dim=32,
        mask_dim=8,
    )
    assert decoder.encoder_features == ["res5", "res4", "res3"]
    assert decoder.lateral_features == ["res2"]
    features = {
        name: torch.randn(1, s.channels, 64 // s.stride, 96 // s.stride)
        for name, s in shapes.items()
    }
    decoded = decoder(features)
    assert decoded.mask_features.shape == (1, 8, 16, 24)
    sizes = [tuple(scale.shape[-2:]) for scale in decoded.multi_scale_features]
    assert sizes == [(2, 3), (4, 6), (8, 12)]
