"""What backbones give: the names of stages, the choice of some, and what is left out with the
others."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from torch import Tensor, nn

STRIDE_OF_STAGE = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
STAGES = tuple(STRIDE_OF_STAGE)


def choose_stages(key: str, names: Sequence[str]) -> list[str]:
    """The stages that the config key ``key`` names, fine to coarse.

    Raises:
        ValueError: one of them is none of res2..res5, or there are none.
    """
    if not names or not set(names) <= set(STAGES):
        raise ValueError(f"{key} is {list(names)}; choose from {list(STAGES)}")
    return [stage for stage in STAGES if stage in names]


def select_features(
    cfg: CfgNode, key: str, names: Sequence[str], input_shape: dict[str, ShapeSpec]
) -> dict[str, ShapeSpec]:
    """The backbone's feature maps that the config key ``key`` names, in its order.

    Raises:
        ValueError: the backbone lacks one of them, or there are none.
    """
    missing = [name for name in names if name not in input_shape]
    if missing or not names:
        raise ValueError(
            f"{key} asks for {missing or 'nothing'}, but the backbone {cfg.MODEL.BACKBONE.NAME} "
            f"gives {list(input_shape)}"
        )
    return {name: input_shape[name] for name in names}


def decode_features(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, ShapeSpec]:
    """Those of the backbone that the decode head takes, see :func:`select_features`."""
    names = cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES
    return select_features(cfg, "MODEL.SEM_SEG_HEAD.IN_FEATURES", names, input_shape)


def leave_out(module: nn.Module, name: str, num_kept: int) -> None:
    """Keep the first layers of the list ``module.name`` alone, because no output needs the others.

    Their parameters would get no gradient, which DistributedDataParallel takes for an error. Of a
    checkpoint of the whole model they are skipped silently: it is no other architecture.
    """
    layers = getattr(module, name)
    if num_kept == len(layers):
        return
    dropped = [f"{name}.{i}." for i in range(num_kept, len(layers))]
    setattr(module, name, layers[:num_kept])
    module.register_load_state_dict_pre_hook(partial(_pass_over, dropped))


def _pass_over(
    dropped: list[str], module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any
) -> None:
    """A hook of torch's; ``state`` is a copy that it may change."""
    for key in [key for key in state if key.startswith(tuple(prefix + part for part in dropped))]:
        del state[key]
