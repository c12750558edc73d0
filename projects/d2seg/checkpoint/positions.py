"""Position embeddings of a checkpoint brought to the grid of a model (Dosovitskiy et al. 2021,
section 3.2)."""

import logging
import math

from timm.layers import resample_abs_pos_embed

from .naming import StateDict

logger = logging.getLogger(__name__)

_TABLE = "pos_embed"  # (1, tokens, C), class token first; timm's name, and d2seg's
_CLASS_TOKEN = "cls_token"


def fit_positions(state: StateDict, model_state: StateDict) -> None:
    """Resize each table of positions in ``state`` to the number of tokens in ``model_state``.

    Grids are square, and resized bilinearly. The slot of a class token is kept apart, and dropped
    together with the token where the model has none. What is not of this form stays as it is.
    Done in place, because state dicts carry the versions of their modules as an attribute.
    """
    for name, ours in model_state.items():
        theirs = state.get(name)
        if not name.endswith(_TABLE) or theirs is None or theirs.dim() != 3 or ours.dim() != 3:
            continue
        class_token = name[: -len(_TABLE)] + _CLASS_TOKEN
        if class_token not in model_state:
            state.pop(class_token, None)
        num_theirs, num_ours = theirs.shape[1], ours.shape[1]
        slots = num_theirs - _square(num_theirs)
        our_slots = int(class_token in model_state)
        side = math.isqrt(num_ours - our_slots)
        is_square = side**2 == num_ours - our_slots
        if num_theirs == num_ours or slots > 1 or our_slots > slots or not is_square:
            continue
        resized = resample_abs_pos_embed(
            theirs[:, slots - our_slots :],
            new_size=[side, side],
            old_size=[math.isqrt(num_theirs), math.isqrt(num_theirs)],
            num_prefix_tokens=our_slots,
            interpolation="bilinear",
            antialias=False,
        )
        logger.info("%s: resized from %d to %d tokens", name, num_theirs, num_ours)
        state[name] = resized


def _square(number: int) -> int:
    """The largest square that is not above ``number``."""
    return math.isqrt(number) ** 2
