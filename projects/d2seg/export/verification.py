"""An exported file against the network that it was made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..runtimes import Session

Named = dict[str, Tensor]
# by number format: the greatest difference of numbers, relative to the greatest of an output
NUMBERS = {"fp32": 1e-4, "fp16": 0.1, "bf16": 0.1, "int8": 1.0}
# and the share of labels, ids and mask pixels that may be others
LABELS = {"fp32": 1e-3, "fp16": 0.05, "bf16": 0.05, "int8": 0.5}


class DifferenceError(RuntimeError):
    """The file gives other values than PyTorch."""


@dataclass(frozen=True)
class Difference:
    """size: (H, W) of the input. output: the one that differs most, by ``value``, against what its
    kind may (``NUMBERS`` or ``LABELS``)."""

    size: tuple[int, int]
    output: str
    value: float
    limit: float


@torch.inference_mode()
def expect(network: nn.Module, examples: Sequence[Named]) -> list[Named]:
    """What PyTorch makes of each example."""
    return [network(*inputs.values()) for inputs in examples]


def compare(
    session: Session, examples: Sequence[Named], expected: Sequence[Named], dtype: str
) -> list[Difference]:
    """The difference of each example, by the output that is farthest from what it may."""
    found = []
    for inputs, values in zip(examples, expected, strict=True):
        actual = session(*(tensor.numpy() for tensor in inputs.values()))
        size = tuple(next(iter(inputs.values())).shape[-2:])
        of_output = [
            Difference(size, name, _difference(torch.from_numpy(actual[name]), value), limit)
            for name, value in values.items()
            for limit in [(NUMBERS if value.is_floating_point() else LABELS)[dtype]]
        ]
        found.append(max(of_output, key=lambda each: each.value / each.limit))
    return found


def check(differences: Sequence[Difference], dtype: str) -> None:
    """
    Raises:
        DifferenceError: one is above its limit.
    """
    for each in differences:
        if each.value > each.limit:
            raise DifferenceError(
                f"at {each.size[0]} x {each.size[1]} the {each.output} of the file differ from "
                f"PyTorch's by {each.value:.1e}, where {dtype} may by {each.limit:.0e}; the file "
                "is deleted"
            )


def _difference(actual: Tensor, expected: Tensor) -> float:
    """Infinite where shapes differ or values are no numbers."""
    if actual.shape != expected.shape:
        return math.inf
    if not expected.is_floating_point():
        return float((actual != expected).double().mean())
    actual, expected = actual.double(), expected.double()
    largest = expected.abs().max().clamp(min=1e-30)
    difference = float((actual - expected).abs().max() / largest)
    return math.inf if math.isnan(difference) else difference
