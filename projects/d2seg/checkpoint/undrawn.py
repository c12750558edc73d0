"""Models that get all their weights from a file: drawing the three hundred million of a ViT-L takes
seconds, longer than reading them."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode


def undrawn(is_filled: bool = True) -> AbstractContextManager:
    """Parameters of modules that are built within are 0 where they would be drawn at random.

    Args:
        is_filled: whether a file will give them all; else nothing changes.
    """
    return _Zeros() if is_filled else nullcontext()


class _Zeros(TorchFunctionMode):
    """Not as they are allocated, since torch draws until all values lie within bounds."""

    _DRAWS = frozenset(
        {"normal_", "uniform_", "trunc_normal_", "erfinv_", "bernoulli_", "orthogonal_"}
        | {f"{name}_{kind}_" for name in ("kaiming", "xavier") for kind in ("normal", "uniform")}
    )

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self._DRAWS:
            tensor = args[0] if args else kwargs["tensor"]
            if isinstance(tensor, nn.Parameter):  # buffers may be in no file
                tensor.detach().zero_()
                return tensor
        return func(*args, **kwargs)
