"""What a LazyConfig needs of this package's recipes beside detectron2's own training loop."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class ClippingAdamW(torch.optim.AdamW):
    """AdamW that scales the gradients of all parameters down to one norm together, as Mask2Former
    is trained (Cheng et al. 2022, section 4.1); detectron2's loops clip none."""

    def __init__(
        self, params: Iterable[Tensor] | Iterable[dict[str, Any]], *, max_norm: float, **kwargs: Any
    ) -> None:
        """
        Args:
            max_norm: largest L2 norm of all gradients together.
            kwargs: of ``torch.optim.AdamW``.

        Raises:
            ValueError: ``max_norm`` is not positive.
        """
        if max_norm <= 0:
            raise ValueError(f"max_norm is {max_norm}; it is above 0")
        super().__init__(params, **kwargs)
        self._max_norm = max_norm

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        parameters = [p for group in self.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self._max_norm)
        return super().step(closure)


def backbone_tenth(name: str) -> float:
    """Factor of the learning rate of a parameter by its name: 0.1 in the backbone, else 1, as
    MaskFormer and Mask2Former are trained."""
    return 0.1 if name.startswith("backbone.") else 1.0
