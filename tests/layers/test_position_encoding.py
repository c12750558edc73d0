import math

import pytest
import torch

from d2seg.layers import sine_position_encoding
from d2seg.layers.position_encoding import _kept_encoding

CPU = torch.device("cpu")


def test_values_by_hand() -> None:
    encoding = sine_position_encoding(2, 4, 8, CPU)
    assert encoding.shape == (8, 2, 4)
    # y = 1 of 2 rows is half of the circle; the frequencies are 1 and 1 / 10000 ** (1 / 2)
    for channel, frequency in ((0, 1.0), (2, 0.01)):
        angle = math.pi * frequency
        assert encoding[channel, 0, 0] == pytest.approx(math.sin(angle), abs=1e-5)
        assert encoding[channel + 1, 0, 0] == pytest.approx(math.cos(angle), abs=1e-5)
    # x = 3 of 4 columns is three quarters
    assert encoding[4, 0, 2] == pytest.approx(math.sin(1.5 * math.pi), abs=1e-5)
    assert encoding[7, 0, 2] == pytest.approx(math.cos(0.015 * math.pi), abs=1e-5)


def test_y_is_first_and_constant_along_x() -> None:
    encoding = sine_position_encoding(3, 5, 12, CPU)
    assert torch.equal(encoding[:6, :, :1].expand(-1, -1, 5), encoding[:6])
    assert torch.equal(encoding[6:, :1].expand(-1, 3, -1), encoding[6:])


def test_cache_made_in_inference_mode_serves_training() -> None:
    _kept_encoding.cache_clear()
    with torch.inference_mode():
        sine_position_encoding(3, 3, 4, CPU)
    weight = torch.ones(4, 3, 3, requires_grad=True)
    (sine_position_encoding(3, 3, 4, CPU) * weight).sum().backward()
    assert weight.grad is not None


def test_results_without_values_are_not_kept() -> None:
    class Encode(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + sine_position_encoding(3, 2, 8, CPU)

    _kept_encoding.cache_clear()
    assert sine_position_encoding(3, 2, 8, torch.device("meta")).is_meta
    x = torch.zeros(8, 3, 2)
    exported = torch.export.export(Encode(), (x,), strict=False).module()(x)
    compiled = torch.compile(Encode(), backend="eager", fullgraph=True)(x)
    assert _kept_encoding.cache_info().currsize == 0
    encoding = sine_position_encoding(3, 2, 8, CPU)
    assert _kept_encoding.cache_info().currsize == 1
    assert type(encoding) is torch.Tensor
    assert sine_position_encoding(3, 2, 8, CPU) is encoding
    torch.testing.assert_close(exported, encoding)
    torch.testing.assert_close(compiled, encoding)


def test_channels_must_be_a_multiple_of_four() -> None:
    with pytest.raises(ValueError, match="multiples of 4, got 6"):
        sine_position_encoding(2, 2, 6, CPU)
