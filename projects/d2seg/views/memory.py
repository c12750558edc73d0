"""How much memory a model takes for a picture, and the largest tile that a budget allows.

What tensors hold while the model sees noise of three small sizes is counted, and a parabola in the
number of pixels laid through the three: most layers grow with the pixels, attention over a whole
picture with their square. Weights are added. Work memory within operators is not seen; a share on
top stands for it.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

MIB = 1 << 20
STEP = 128  # between the sides of tiles that are chosen from
LARGEST_TILE = 4096
_SAMPLES = (256, 384, 512)  # sides of pictures on which memory is counted
_OPERATORS_SHARE = 1.25  # operators' own memory, and what allocators keep


class PictureTooLargeError(MemoryError, ValueError):
    """A picture for which a model would take more than TEST.TILES.MEMORY."""


class MemoryEstimate:
    """Bytes that a model takes for a picture, counted when first asked for."""

    def __init__(self, model: nn.Module, channels: int, result_factor: int = 1) -> None:
        """
        Args:
            model: of PyTorch, with detectron2's interface, in eval mode.
            channels: of the pictures.
            result_factor: from the sides of a picture to those of its result.
        """
        self._model = model
        self._result_factor = result_factor
        self._channels = channels
        self._coefficients: np.ndarray | None = None

    def mib(self, height: int, width: int) -> float:
        """For a picture of this size and its result."""
        if self._coefficients is None:
            self._coefficients = self._fit()
        return float(np.polyval(self._coefficients, height * width)) / MIB

    def _fit(self) -> np.ndarray:
        pixels = np.array([side**2 for side in _SAMPLES], float)
        counted = [self._counted(side) for side in _SAMPLES]
        curve = np.polyfit(pixels, counted, 2)
        if curve[0] < 0:  # noise of small pictures, which would make large ones cheap
            curve = np.array([0.0, *np.polyfit(pixels, counted, 1)])
        weights = sum(
            tensor.numel() * tensor.element_size()
            for tensor in (*self._model.parameters(), *self._model.buffers())
        )
        return curve * _OPERATORS_SHARE + np.array([0.0, 0.0, weights])

    def _counted(self, side: int) -> int:
        generator = torch.Generator().manual_seed(0)
        shape = (self._channels, side, side)
        image = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        with torch.no_grad(), _TensorMemory() as memory:
            result_side = self._result_factor * side
            self._model([{"image": image, "height": result_side, "width": result_side}])
        return memory.peak


class _TensorMemory(TorchDispatchMode):
    """Counts the bytes of the tensors that are made while it is on. ``peak``: most at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._held: dict[int, tuple[weakref.ref, int]] = {}
        self._total = 0

    def __torch_dispatch__(
        self, func: Callable, types: Sequence, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self._add(tensor)
        self.peak = max(self.peak, self._total)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._held:
            return

        def free(_: weakref.ref) -> None:
            del self._held[key]
            self._total -= size

        self._held[key] = (weakref.ref(storage, free), size)
        self._total += size


def largest_tile(estimate: MemoryEstimate, budget: int, overlap: int, divisibility: int) -> int:
    """The largest multiple of 128, of ``divisibility`` at least and of 4096 pixels at most, that
    is twice the overlap or more and for which the model takes at most ``budget`` MiB.

    Raises:
        ValueError: there is none.
    """
    smallest = -(-max(2 * overlap, divisibility, STEP) // STEP) * STEP
    sides = range(smallest, max(LARGEST_TILE, smallest) + 1, STEP)
    fitting = [side for side in sides if estimate.mib(side, side) <= budget]
    if not fitting:
        raise ValueError(
            f"TEST.TILES.MEMORY is {budget} MiB; this model takes about "
            f"{estimate.mib(smallest, smallest):.0f} for a tile of {smallest} pixels, the smallest "
            f"with OVERLAP {overlap}: set more memory or less OVERLAP"
        )
    return max(fitting)


class BudgetedModel(nn.Module):
    """A model without tiles that refuses pictures for which it would take more than a budget."""

    def __init__(self, model: nn.Module, budget: int, channels: int) -> None:
        """``budget``: MiB. ``channels``: of the pictures."""
        super().__init__()
        self.model = model
        self._budget = budget
        self._estimate = MemoryEstimate(model, channels)

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As the model's.

        Raises:
            PictureTooLargeError: a picture, or the batch, would take more.
        """
        sizes = [tuple(example["image"].shape[-2:]) for example in batched_inputs]
        height, width = max(sizes, key=lambda size: size[0] * size[1])
        needed = self._estimate.mib(height * len(sizes), width)
        if needed > self._budget:
            raise PictureTooLargeError(
                f"{width} x {height} pixels{f', {len(sizes)} at a time,' if sizes[1:] else ''} "
                f"take about {needed:.0f} MiB and TEST.TILES.MEMORY is {self._budget}: set "
                "TEST.TILES.ENABLED True to see them in tiles, with SIZE 'auto' for the largest "
                "that fit"
            )
        return self.model(batched_inputs)
