"""Resizing as a matrix against torch's own, and the averaging of windows."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from d2seg.layers.resampling import (
    WindowAxis,
    flip_step,
    last_argmax,
    resize,
    resize_step,
    window_offsets,
)


@pytest.mark.parametrize(
    ("source", "target"), [(8, 32), (8, 31), (13, 13), (1, 7), (40, 9), (9, 1), (1, 1)]
)
def test_resizing_is_that_of_torch(source: int, target: int) -> None:
    values = np.random.default_rng(0).random(source)
    matrix, first = resize_step(source, target).matrix(0, target)
    expected = F.interpolate(
        torch.from_numpy(values)[None, None, None],
        (1, target),
        mode="bilinear",
        align_corners=False,
    )
    np.testing.assert_allclose(
        matrix @ values[first : first + matrix.shape[1]], expected.flatten(), atol=1e-12
    )
    np.testing.assert_allclose(matrix.sum(1), 1)


def test_a_part_takes_only_what_it_needs() -> None:
    matrix, first = resize_step(100, 400).matrix(200, 208)
    assert (first, matrix.shape) == (49, (8, 4))


def test_flip() -> None:
    matrix, first = flip_step(5).matrix(1, 3)  # positions 1 and 2 are 3 and 2 of the input
    assert first == 2
    assert matrix.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("length", "window", "stride", "expected"),
    [
        (10, 10, 5, [0]),
        (7, 10, 5, [0]),
        (11, 10, 5, [0, 1]),
        (20, 10, 5, [0, 5, 10]),
        (22, 10, 5, [0, 5, 10, 12]),
        (2048, 1024, 768, [0, 768, 1024]),  # Cityscapes
    ],
)
def test_offsets(length: int, window: int, stride: int, expected: list[int]) -> None:
    assert window_offsets(length, window, stride) == expected


@pytest.mark.parametrize("length", [10, 17, 40, 41])
@pytest.mark.parametrize("stride", [1, 4, 9, 10])
def test_windows_cover_the_content_and_share_each_position(length: int, stride: int) -> None:
    axis = WindowAxis(
        offsets=window_offsets(length, 10, stride),
        window_size=10,
        content_size=length,
        steps=[flip_step(length), resize_step(length, 53)],
    )
    taps = axis.taps(20, 33, 5, torch.device("cpu"))
    torch.testing.assert_close(sum(tap.matrix.sum(1) for tap in taps), torch.ones(13))
    assert [tap.window for tap in taps] == sorted(tap.window for tap in taps)
    for tap in taps:
        assert 0 <= tap.span.start < tap.span.stop <= 5


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (4, 5, 7), (0, 5, 7)])
def test_resize_is_bilinear_between_the_centres_of_pixels(shape: tuple[int, ...]) -> None:
    maps = torch.rand(shape)
    rows, _ = resize_step(5, 9).matrix(0, 9)
    columns, _ = resize_step(7, 4).matrix(0, 4)
    expected = torch.from_numpy(rows).float() @ maps @ torch.from_numpy(columns).float().T
    torch.testing.assert_close(resize(maps, (9, 4)), expected)
    assert resize(maps, [5, 7]) is maps


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_last_argmax_takes_the_first_best(dtype: torch.dtype) -> None:
    scores = torch.randint(0, 5, (6, 7, 150)).to(dtype)  # with many ties
    best = last_argmax(scores)
    assert best.dtype == torch.int64
    is_best = scores == scores.amax(-1, keepdim=True)
    assert torch.equal(best, is_best.int().argmax(-1))
