"""What a region is described by."""

import pytest
import torch

from d2seg.pointrend.region_heads import ImplicitPointHead, RegionHead


@pytest.mark.parametrize("channels", [4, 6, 8])
@pytest.mark.parametrize("side", [5, 6])
def test_any_number_of_channels_and_any_side(channels: int, side: int) -> None:
    head = RegionHead(
        input_channels=channels, input_size=side, conv_dim=6, fc_dim=10, num_fc=2, num_outputs=7
    )
    assert ("channels" in head.reduce_convs) == (channels != 6)
    assert head(torch.randn(3, channels, side, side)).shape == (3, 7)
    assert head(torch.randn(0, channels, side, side)).shape == (0, 7)


def implicit_head() -> ImplicitPointHead:
    torch.manual_seed(0)
    return ImplicitPointHead(
        feature_channels=4,
        num_classes=3,
        hidden_dim=5,
        num_layers=1,
        use_image_features=True,
        use_positions=True,
        position_dim=8,
    )


def test_an_mlp_of_each_region() -> None:
    """Against layers one by one; inputs are the encoded positions, then the features."""
    head = implicit_head()
    features, coords = torch.randn(2, 6, 4), torch.rand(2, 6, 2)
    parameters, classes = torch.randn(2, head.num_parameters), torch.tensor([2, 0])
    found = head(features, coords, parameters, classes)
    for region in range(2):
        angles = 2 * torch.pi * (2 * coords[region] - 1) @ head.frequencies
        hidden = torch.cat([angles.sin(), angles.cos(), features[region]], dim=1)
        first, second, bias1, bias2 = parameters[region].split([60, 15, 5, 3])
        hidden = (hidden @ first.view(5, 12).T + bias1).relu()
        expected = (hidden @ second.view(3, 5).T + bias2)[:, classes[region]]
        torch.testing.assert_close(found[region, :, 0], expected, atol=1e-5, rtol=1e-4)


def test_positions_keep_their_precision_under_autocast() -> None:
    head, coords = implicit_head(), torch.rand(1, 50, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head._encode(coords)
    assert torch.equal(found, head._encode(coords))
