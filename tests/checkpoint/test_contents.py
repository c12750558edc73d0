"""What counts as weights: names in one line, plain numbers, no more than a model can have."""

import math
import struct
from pathlib import Path

import pytest
import torch

from d2seg.checkpoint.contents import ContentError, check_header, is_finite, normalise

ONE = torch.ones(1)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a\nb": ONE}, r"named 'a b', of 3 characters; .* in one line"),
        ({"\x1b[2J": ONE}, r"named '\\x1b\[2J'"),
        ({"w" * 1001: ONE}, r"named 'w{77}\.\.\.', of 1001 characters"),
        ({b"w" * 1000: ONE}, r"named b'w+\.\.\., which is no text"),
        (
            {"w": torch.quantize_per_tensor(ONE, 1.0, 0, torch.quint8)},
            r"'w' is of type torch\.quint8",
        ),
        ({f"w{i}": ONE for i in range(20_001)}, r"more than 20000 names"),
    ],
)
def test_what_no_model_has_is_refused(weights: dict, message: str) -> None:
    with pytest.raises(ContentError, match=message) as caught:
        normalise({"model": weights}, is_pickle=False)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.float8_e4m3fn, torch.complex64, torch.uint16, torch.bool]
)
def test_numbers_of_all_kinds_are_weights(dtype: torch.dtype) -> None:
    weights = {"größe.weight": torch.zeros(2).to(dtype), "w" * 1000: ONE}
    assert normalise({"model": weights}, is_pickle=False)["model"] == weights


def test_the_header_of_safetensors_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", 5 << 20) + bytes(5 << 20))
    with pytest.raises(ValueError, match=r"the list of its tensors has 5242880 bytes"):
        check_header(str(path))
    for content in (b"", struct.pack("<Q", 2**60), struct.pack("<Q", 2) + b"{}"):
        path.write_bytes(content)
        check_header(str(path))


def test_finite_by_the_sum() -> None:
    large = torch.full((9,), 3e38)  # whose sum is not
    assert is_finite(large)
    assert is_finite(torch.full((70_000,), 1.0, dtype=torch.float16))
    assert is_finite(torch.tensor([7]))
    for bad in (math.nan, math.inf, -math.inf):
        assert not is_finite(torch.tensor([1.0, bad]))
    assert not is_finite(torch.tensor([math.inf, -math.inf]))
