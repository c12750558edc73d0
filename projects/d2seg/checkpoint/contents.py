"""What a checkpoint of any format holds, brought into one form: named tensors of plain numbers, and
what stands beside them."""

import math
import os
import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from .shown import brief

WEIGHTS_ENTRIES = ("model", "state_dict", "model_state")
_MAX_NAMES = 20_000  # matching compares each with each of the model; large models have 5,000
_LONGEST_NAME = 1000
_LARGEST_HEADER = 4 << 20  # bytes of text, each 60 of which become an object of half a kB
_PLAIN = {
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.complex64, torch.complex128),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
    *(torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint64, torch.uint32, torch.uint16, torch.uint8),
}


class ContentError(ValueError):
    """A file that was read has no weights; the message goes on behind the file's name."""


def normalise(loaded: Any, is_pickle: bool) -> dict[str, Any]:
    """Bring the entries of any format into detectron2's: the weights under "model".

    Args:
        is_pickle: the file is a plain pickle, as Caffe2's are.

    Raises:
        ContentError: there are no weights, too many, or weights without proper names or numbers.
    """
    if not isinstance(loaded, dict):
        raise ContentError(f" holds a {type(loaded).__name__}, not named weights")
    entries = list(loaded)
    entry = next((e for e in WEIGHTS_ENTRIES if isinstance(loaded.get(e), dict)), None)
    if entry is not None:
        checkpoint = {key: value for key, value in loaded.items() if key != entry}
        state = loaded[entry]
    else:
        checkpoint = {}
        state = loaded.get("blobs", loaded)  # of Caffe2
    if entry == "model_state":
        checkpoint |= {"__author__": "pycls", "matching_heuristics": True}
    elif entry is None and is_pickle:
        checkpoint |= {"__author__": "Caffe2", "matching_heuristics": True}
    if not isinstance(state, dict):
        raise ContentError(f": its weights are a {type(state).__name__}, not named")
    _check_names(state)
    copies: dict[int, torch.Tensor] = {}  # arrays may stand under several names
    # in place, because torch's state dicts carry the versions of their modules as an attribute
    for name in list(state):
        if name.endswith("_momentum"):  # of Caffe2's optimizer
            del state[name]
        elif isinstance(state[name], np.ndarray | np.generic):
            array = state[name]
            if id(array) not in copies:
                copies[id(array)] = torch.from_numpy(np.array(array))
            state[name] = copies[id(array)]
        elif not isinstance(state[name], torch.Tensor):
            del state[name]
        elif state[name].dtype not in _PLAIN:
            raise ContentError(
                f": its tensor '{name}' is of type {state[name].dtype}, not of plain numbers; save "
                "it anew as float32"
            )
    if not state:
        shown = [brief(entry, 40) for entry in entries[:8]]
        raise ContentError(f" holds no weights; its entries are {shown}")
    return checkpoint | {"model": state}


def _check_names(names: Iterable[Any]) -> None:
    for number, name in enumerate(names):
        if not isinstance(name, str):
            raise ContentError(
                f": a tensor is named {brief(repr(name), 80)}, which is no text; save it anew with "
                "the names of a state_dict"
            )
        if not name.isprintable() or len(name) > _LONGEST_NAME:
            raise ContentError(
                f": a tensor is named '{brief(name, 80)}', of {len(name)} characters; names are "
                f"of at most {_LONGEST_NAME}, in one line"
            )
        if number >= _MAX_NAMES:
            raise ContentError(f" has more than {_MAX_NAMES} names of weights, which no model has")


def check_header(path: str) -> None:
    """Bound the names of a .safetensors file, of which objects are made all at once.

    Raises:
        ValueError: there are too many.
    """
    with open(path, "rb") as file:
        head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if _LARGEST_HEADER < length <= os.path.getsize(path):
        raise ValueError(f"the list of its tensors has {length} bytes")


def check_values(state: Mapping[str, Any], model: nn.Module, *, is_own: bool) -> None:
    """See that what a model's weights and running statistics become are numbers to compute with.

    Args:
        is_own: a training goes on from them, so they have the types that the model has.

    Raises:
        ContentError: a weight is not finite; or of complex numbers and the model's of real ones,
            where torch would drop the imaginary parts; or of another type than its own.
    """
    wanted = dict(model.named_parameters())
    wanted |= {name: b for name, b in model.named_buffers() if ".running_" in f".{name}"}
    for name, own in wanted.items():
        value = state.get(name)
        if not isinstance(value, torch.Tensor):
            continue
        if is_own and value.dtype != own.dtype:
            raise ContentError(
                f": the weight {name} is of {value.dtype}, and the model's of {own.dtype}"
            )
        if value.is_complex() and not own.is_complex():
            raise ContentError(
                f": the weight {name} is of complex numbers and the model's of real ones; it is of "
                "another model, or damaged"
            )
        if not is_finite(value):
            raise ContentError(
                f": the weight {name} is not finite (NaN or infinity): its training has diverged, "
                "or it is damaged"
            )


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers are; by their sum, for ``isfinite`` takes as long as writing a file."""
    if not tensor.is_floating_point():
        return True
    precise = torch.promote_types(tensor.dtype, torch.float32)
    return math.isfinite(tensor.detach().sum(dtype=precise)) or bool(tensor.isfinite().all())
