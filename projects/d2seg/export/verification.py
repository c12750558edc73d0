"""An exported file against the network that it was made of."""

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..runtimes import Session
from .detections import align

Named = dict[str, Tensor]
Size = tuple[int, int]  # (H, W)
# by number format: the greatest difference of numbers, relative to the greatest of an output
# (in int8 the norm of the difference, relative to the output's: single numbers may be far off)
NUMBERS = {"fp32": 1e-4, "fp16": 0.1, "bf16": 0.1, "int8": 0.25}
# and the share of labels, ids and mask pixels that may be others
LABELS = {"fp32": 1e-3, "fp16": 0.05, "bf16": 0.05, "int8": 0.5}
# and the share of detections that may be others: one of them, suppressed or not, at an overlap that
# rounding takes across the threshold
DETECTIONS = {"fp32": 0.05, "fp16": 0.2, "bf16": 0.2, "int8": 0.5}
# masks refined at the least certain points: rounding changes which these are
_REFINED, _OF_REFINED = "mask_probs", 1e-2


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
        outputs = session(*(tensor.numpy() for tensor in inputs.values()))
        actual = {name: torch.from_numpy(outputs[name]) for name in values}
        size = tuple(next(iter(inputs.values())).shape[-2:])
        of_output = _differences(actual, values, size, dtype)
        found.append(max(of_output, key=lambda each: each.value / each.limit))
    return found


def _differences(actual: Named, expected: Named, size: Size, dtype: str) -> list[Difference]:
    """One for each output, and of a model with boxes one for those that are missing."""
    found = []
    shapes = [value.shape for value in actual.values()]
    if "boxes" in expected and shapes == [value.shape for value in expected.values()]:
        actual, expected, lost = align(actual, expected, size)
        found.append(Difference(size, "boxes", lost, DETECTIONS[dtype]))
    for name, value in expected.items():
        is_share = name == _REFINED or not value.is_floating_point()
        limit = (LABELS if is_share else NUMBERS)[dtype]
        measure = _relative_norm if dtype == "int8" and not is_share else _difference
        found.append(Difference(size, name, measure(actual[name], value, name), limit))
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


def _difference(actual: Tensor, expected: Tensor, name: str) -> float:
    """Infinite where shapes differ or values are no numbers."""
    if actual.shape != expected.shape:
        return math.inf
    if not expected.numel():
        return 0.0
    if name == _REFINED:
        is_near = (actual - expected).abs() <= _OF_REFINED  # not so of NaN
        return float((~is_near).double().mean())
    if not expected.is_floating_point():
        return float((actual != expected).double().mean())
    actual, expected = actual.double(), expected.double()
    largest = expected.abs().max().clamp(min=1e-30)
    difference = float((actual - expected).abs().max() / largest)
    return math.inf if math.isnan(difference) else difference


def _relative_norm(actual: Tensor, expected: Tensor, name: str) -> float:
    """The norm of the difference over that of ``expected``; infinite as :func:`_difference`."""
    if not math.isfinite(_difference(actual, expected, name)):
        return math.inf
    actual, expected = actual.double(), expected.double()
    return float((actual - expected).norm() / expected.norm().clamp(min=1e-30))


def times_by_turns(one: Session, other: Session, inputs: Named) -> tuple[float, float]:
    """Milliseconds of a run of each: medians of five by turns, after one that does not count."""
    arrays = [tensor.numpy() for tensor in inputs.values()]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(6):
        for session, measured in zip((one, other), times, strict=True):
            start = time.perf_counter()
            session(*arrays)
            measured.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])
