"""Working on a few things at a time, bounded by how many numbers that makes."""

import sys
from collections.abc import Iterator
from typing import NamedTuple

import torch

UNBOUNDED = sys.maxsize


class Budget(NamedTuple):
    """Numbers to hold at a time: on a CPU few enough for its caches, elsewhere few enough calls."""

    on_cpu: int
    elsewhere: int

    def count(self, numbers_each: float, device: torch.device, at_least: int = 1) -> int:
        """How many things of ``numbers_each`` >= 0 numbers fit, and ``at_least`` in any case."""
        budget = self.on_cpu if device.type == "cpu" else self.elsewhere
        return max(at_least, int(budget // max(1, numbers_each)))

    def slices(
        self, length: int, numbers_each: float, device: torch.device, at_least: int = 1
    ) -> Iterator[slice]:
        """Slices that cover 0 to ``length`` in order, of :meth:`count` things but for the last."""
        step = self.count(numbers_each, device, at_least)
        return (slice(start, min(start + step, length)) for start in range(0, length, step))


def budget(numbers: int) -> Budget:
    """The same on every device."""
    return Budget(numbers, numbers)
