"""Parts of a backbone that are not trained, as MODEL.BACKBONE.FREEZE_AT counts them.

detectron2's ResNets count so: 1 is the stem, 2 the stem and the first stage, and so on; 0 trains
all. Here a backbone lists its parts in the order of the forward pass, and n freezes the first n.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import TypeVar

from torch import nn

logger = logging.getLogger(__name__)

Part = Sequence[nn.Module | nn.Parameter]
AnyFreezable = TypeVar("AnyFreezable", bound="Freezable")


class Freezable:
    """What a backbone inherits, before ``Backbone``, to be frozen in parts.

    A frozen part gets no gradient and stays in eval mode: its batch norms keep their statistics,
    and it drops nothing out.
    """

    _frozen: tuple[nn.Module, ...] = ()  # no list: its parts are children already

    def parts(self) -> list[Part]:
        """Modules and parameters, a list for each step of FREEZE_AT: the stem, then the stages."""
        raise NotImplementedError(f"{type(self).__name__} names no parts")

    def freeze(self: AnyFreezable, freeze_at: int = 0) -> AnyFreezable:
        """Freeze the first ``freeze_at`` parts, or all where there are fewer; returns itself."""
        frozen = [member for part in self.parts()[: max(freeze_at, 0)] for member in part]
        for member in frozen:
            member.requires_grad_(False)
        self._frozen = tuple(member for member in frozen if isinstance(member, nn.Module))
        self.train(self.training)
        if frozen:
            numbers = [p.requires_grad for p in self.parameters()]
            logger.info(
                "MODEL.BACKBONE.FREEZE_AT %d: %d of %d tensors of %s are not trained",
                freeze_at,
                numbers.count(False),
                len(numbers),
                type(self).__name__,
            )
        return self

    def train(self: AnyFreezable, mode: bool = True) -> AnyFreezable:
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


def parts_until(model: nn.Module, ends: Iterable[str]) -> list[Part]:
    """The parts of a model whose stages are found by name, in the order of its definition.

    Args:
        ends: of each stage, the name of its last module, or of the module that it is. A dot may be
            an underscore. What is defined before the first of them is the stem.
    """
    modules = list(model.named_modules())
    names = [name.replace(".", "_") for name, _ in modules]
    is_inner = {name.rpartition(".")[0] for name, _ in modules}
    # a module without children, or the parameters that belong to a container alone
    members = [
        [module] if name not in is_inner else list(module.parameters(recurse=False))
        for name, module in modules
    ]
    parts: list[Part] = []
    start = 0
    for end in ends:
        wanted = end.replace(".", "_")
        within = [i for i, name in enumerate(names) if f"{name}_".startswith(f"{wanted}_")]
        if not parts:
            parts.append([member for i in range(within[0]) for member in members[i]])
            start = within[0]
        stop = within[-1] + 1
        parts.append([member for i in range(start, stop) for member in members[i]])
        start = stop
    return parts
