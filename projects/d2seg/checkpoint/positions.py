"""Position embeddings of a checkpoint brought to the grid of a model (Dosovitskiy et al. 2021,
section 3.2)."""

import logging
import math
from collections.abc import Mapping

from timm.layers import resample_abs_pos_embed
from torch import nn

from .naming import StateDict

logger = logging.getLogger(__name__)

_TABLE = "pos_embed"  # (1, tokens, C), class token first; timm's name, and d2seg's
_CLASS_TOKEN = "cls_token"


def position_grids(model: nn.Module) -> dict[str, tuple[int, int]]:
    """{name of a table of positions: (rows, columns)} of the model's vision transformers that say
    so, as timm's do."""
    grids = {}
    for name, module in model.named_modules():
        grid = getattr(getattr(module, "patch_embed", None), "grid_size", None)
        if grid is not None and getattr(module, _TABLE, None) is not None:
            grids[f"{name}.{_TABLE}" if name else _TABLE] = tuple(grid)
    return grids


def fit_positions(
    state: StateDict, model_state: StateDict, grids: Mapping[str, tuple[int, int]]
) -> None:
    """Resize each table of positions in ``state`` to the grid that it has in the model.

    Tables are resized bilinearly. Those of checkpoints are square, and so are those of the model
    that ``grids`` does not name. The slot of a class token is kept apart, and dropped together with
    the token where the model has none. What is not of this form stays as it is. Done in place,
    because state dicts carry the versions of their modules as an attribute.
    """
    for name, ours in model_state.items():
        theirs = state.get(name)
        if not name.endswith(_TABLE) or theirs is None or theirs.dim() != 3 or ours.dim() != 3:
            continue
        class_token = name[: -len(_TABLE)] + _CLASS_TOKEN
        if class_token not in model_state:
            state.pop(class_token, None)
        num_theirs, num_ours = theirs.shape[1], ours.shape[1]
        side = math.isqrt(num_theirs)
        slots = num_theirs - side**2
        num_tokens = int(class_token in model_state)
        our_side = math.isqrt(num_ours - num_tokens)
        grid = grids.get(name, (our_side, our_side))
        our_slots = num_ours - grid[0] * grid[1]
        if num_theirs == num_ours or slots > 1 or our_slots > min(slots, num_tokens):
            continue
        state[name] = resample_abs_pos_embed(
            theirs[:, slots - our_slots :],
            new_size=list(grid),
            old_size=[side, side],
            num_prefix_tokens=our_slots,
            interpolation="bilinear",
            antialias=False,
        )
        logger.info("%s: resized from %d to %d tokens", name, num_theirs, num_ours)
