"""State dicts of other repositories, renamed as a model loads them.

Models do not know whose layouts there are, and ``checkpoint``, which does, knows no models: the top
of the package passes the renaming function from the one to the other (``d2seg/__init__.py``).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

# names and tensors -> the same under this package's names; None: they are of no other repository
Converter = Callable[[dict[str, Tensor]], dict[str, Tensor] | None]
_converters: list[Converter] = []


def set_converter(convert: Converter) -> None:
    """Let every model rename what it loads by ``convert``."""
    _converters[:] = [convert]


def convert_at_loading(module: nn.Module, place: str = "") -> None:
    """Have ``module`` rename foreign state dicts in ``load_state_dict``, be it its own or that of
    a module around it. detectron2's checkpointer and predictor load that way.

    Args:
        place: of the module in the model that layouts describe, as "sem_seg_head."; empty for the
            whole of it. Names outside of it stay.
    """
    module.register_load_state_dict_pre_hook(partial(_rename, place))


def _rename(place: str, module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """A hook of torch; ``state`` has the names below ``prefix``, and is changed in place."""
    around = prefix.removesuffix(place)  # of a module that wraps the model
    inside = {
        name.removeprefix(around): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
    for convert in _converters:
        converted = convert(inside)
        if converted is not None:
            for name in inside:
                del state[around + name]
            state.update({around + name: tensor for name, tensor in converted.items()})
