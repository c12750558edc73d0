"""Random weights in a tenth of the time: a tenth of the suite went to drawing those of models."""

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.overrides import has_torch_function

_LENGTH = 1_000_003  # a prime, so that no two channels of a layer are the same numbers
_LEAST = 1 << 15  # numbers of a tensor


def draw_from_pools() -> None:
    """Have torch fill large fp32 tensors of the CPU in place with numbers that are drawn once, from
    a place on that torch's own generator draws: of the same distribution, and the same for a seed,
    though others than torch's."""
    for name in ("uniform_", "normal_"):
        draw = getattr(Tensor, name)
        if not hasattr(draw, "pool"):
            setattr(Tensor, name, _from_pool(draw))


def _from_pool(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    pool = draw(torch.empty(_LENGTH), generator=torch.Generator().manual_seed(0))
    is_uniform = draw.__name__ == "uniform_"

    @functools.wraps(draw)  # by its name it is known to modes that see torch's functions
    def fill(self: Tensor, *values: float, **others: object) -> Tensor:
        is_plain = type(self) in (Tensor, nn.Parameter) and not has_torch_function((self,))
        is_plain = is_plain and self.device.type == "cpu" and self.dtype == torch.float32
        is_plain = is_plain and all(value is None for value in others.values())
        is_large = self.numel() >= _LEAST and self.is_contiguous()
        offset, scale = (*values, *(0.0, 1.0)[len(values) :])
        scale = scale - offset if is_uniform else scale
        if not is_plain or not is_large or scale < 0 or not math.isfinite(offset + scale):
            return draw(self, *values, **others)
        start = int(torch.randint(_LENGTH, ()))
        rest = self.detach().view(-1)
        while len(rest):
            numbers = pool[start : start + len(rest)]
            torch.mul(numbers, scale, out=rest[: len(numbers)]).add_(offset)
            rest, start = rest[len(numbers) :], 0
        return self

    fill.pool = pool
    return fill
