"""The functions and classes that a pickled checkpoint may name, each replaced by one of our own.

numpy's and torch's functions trust what they are called with: ``numpy.ndarray`` with a buffer
makes pointers out of bytes, a tensor's strides may lie about its storage. The replacements here
take plain values alone, check each against the bytes that there are, and charge what they make to
an ``Allowance``.
"""

import argparse
import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .allowance import OBJECT_SIZE, Allowance, Named, natural_sizes
from .rebuilt_arrays import empty_array, from_bytes, make_dtype, scalar

_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}


class Storage(NamedTuple):
    """The memory of tensors."""

    values: torch.UntypedStorage
    dtype: torch.dtype


def _tensor(
    allowance: Allowance, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any
) -> Tensor:
    """In place of torch's ``_rebuild_tensor`` and ``_v2``: a view of a storage, within it."""
    return _view(allowance, storage, offset, size, stride, getattr(storage, "dtype", None))


def _tensor_v3(
    allowance: Allowance, storage: Any, offset: Any, size: Any, stride: Any, *rest: Any
) -> Tensor:
    if len(rest) < 3:
        raise ValueError("a tensor has no type")
    return _view(allowance, storage, offset, size, stride, rest[2])


def _view(
    allowance: Allowance, storage: Any, offset: Any, size: Any, stride: Any, dtype: Any
) -> Tensor:
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
        raise ValueError("a tensor has no storage, or no type")
    size, stride, (offset,) = natural_sizes(size), natural_sizes(stride), natural_sizes((offset,))
    if len(size) != len(stride):
        raise ValueError("a tensor has not as many strides as sizes")
    available, numel = storage.values.nbytes() // dtype.itemsize, math.prod(size)
    last = sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if offset + (last + 1 if numel else 0) > available:
        raise ValueError(f"a tensor of shape {size} is larger than its storage")
    # of a value that stands for many, as `expand` makes them, copies are larger
    allowance.charge(max(0, numel - available) * dtype.itemsize + OBJECT_SIZE)
    return torch.empty(0, dtype=dtype).set_(storage.values, offset, size, stride)


def _parameter(allowance: Allowance, data: Any, requires_grad: Any, *rest: Any) -> nn.Parameter:
    if not isinstance(data, Tensor):
        raise ValueError("a parameter is no tensor")
    allowance.charge(OBJECT_SIZE)
    return nn.Parameter(data.detach(), requires_grad=bool(requires_grad))


def _tensor_with_attributes(
    allowance: Allowance, function: Any, kind: Any, values: Any, state: Any
) -> Tensor:
    """The tensor alone."""
    rebuilds = (_tensor, _tensor_v3, _parameter)
    known = isinstance(function, Named) and FUNCTIONS.get(function.name) in rebuilds
    if not known or not isinstance(values, tuple):
        raise ValueError("a tensor is not made by a function of torch's")
    return FUNCTIONS[function.name](allowance, *values)


def _bytes(allowance: Allowance, text: Any, encoding: Any = "") -> bytes:
    """In place of ``_codecs.encode``, with which old pickle protocols write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("text is encoded otherwise than as latin1")
    allowance.charge(len(text))
    return text.encode("latin1")


def _bytearray(allowance: Allowance, *values: Any) -> bytearray:
    if len(values) == 2:
        return bytearray(_bytes(allowance, *values))
    if any(not isinstance(value, bytes) for value in values[:1]):
        raise ValueError("a bytearray is not of bytes")
    allowance.charge(sum(map(len, values[:1])))
    return bytearray(*values[:1])


def _ordered(allowance: Allowance, pairs: Any = ()) -> OrderedDict:
    allowance.charge(OBJECT_SIZE * (1 + len(pairs)))
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("an ordered dict is not of pairs")
    for key, _ in pairs:
        check_key(allowance, key)
    return OrderedDict(pairs)


def _counter(allowance: Allowance, counts: Any = None) -> Counter:
    counts = {} if counts is None else counts
    if not isinstance(counts, dict):
        raise ValueError("a Counter is not of a dict")
    allowance.charge(OBJECT_SIZE * (1 + len(counts)))
    return Counter(counts)


def _set(allowance: Allowance, values: Any = ()) -> set:
    allowance.charge(OBJECT_SIZE * (1 + len(values)))
    for value in values:
        check_key(allowance, value)
    return set(values)


def check_key(allowance: Allowance, key: Any) -> None:
    """Whether it may be hashed: that of a tuple may take forever, many numbers share one."""
    allowance.count_key(key)
    if isinstance(key, tuple) and len(key) <= 4:
        for part in key:
            if not isinstance(part, str | bool | type(None)):
                raise ValueError("a tuple that is the key of a dict holds more than text")
    elif not isinstance(key, str | bytes | int | float | type(None) | torch.dtype):
        raise ValueError(f"a {type(key).__name__} is the key of a dict")
    elif type(key) is int and not -(2**63) <= key < 2**63:
        raise ValueError("an integer of more than 64 bits is the key of a dict")


def _size(allowance: Allowance, sizes: Any) -> torch.Size:
    return torch.Size(natural_sizes(sizes))


def _device(allowance: Allowance, kind: Any, index: Any = None) -> torch.device:
    if not isinstance(kind, str) or not isinstance(index, int | None):
        raise ValueError("a device is not a name and a number")
    return torch.device(kind) if index is None else torch.device(kind, index)


def _complex(allowance: Allowance, real: Any, imaginary: Any) -> complex:
    if not isinstance(real, float) or not isinstance(imaginary, float):
        raise ValueError("a complex number is not of two floats")
    return complex(real, imaginary)


def _namespace(allowance: Allowance) -> argparse.Namespace:
    allowance.charge(OBJECT_SIZE)
    return argparse.Namespace()


# called with an allowance and what the pickle gives
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")  # of numpy 1 and 2
        for name, function in {
            "multiarray._reconstruct": empty_array,
            "multiarray.scalar": scalar,
            "numeric._frombuffer": from_bytes,
        }.items()
    },
    "numpy.dtype": make_dtype,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _tensor_with_attributes,
    "torch.Size": _size,
    "torch.device": _device,
    "_codecs.encode": _bytes,
    "collections.OrderedDict": _ordered,
    "collections.Counter": _counter,
    "argparse.Namespace": _namespace,
    # what training scripts store beside the weights; they become ordered dicts
    "yacs.config.CfgNode": _ordered,
    "fvcore.common.config.CfgNode": _ordered,
    "detectron2.config.config.CfgNode": _ordered,
    **{
        f"{module}.{name}": function
        for module in ("builtins", "__builtin__")
        for name, function in {
            "set": _set,
            "frozenset": _set,
            "bytearray": _bytearray,
            "complex": _complex,
        }.items()
    },
}
# named, never called
_CLASSES = ("numpy.ndarray", "torch.Tensor", "torch.nn.parameter.Parameter")
_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
STORAGES: dict[str, torch.dtype] = {
    **{f"torch.{n}Storage": dtype for n, dtype in _STORAGES.items()},
    **{f"torch.cuda.{n}Storage": dtype for n, dtype in _STORAGES.items()},
    "torch.storage.UntypedStorage": torch.uint8,
    "torch.storage._UntypedStorage": torch.uint8,
    "torch.UntypedStorage": torch.uint8,
}


def find(name: str) -> Any:
    """What a pickle's ``name`` stands for here; ``None`` where it is not permitted."""
    if name in FUNCTIONS or name in _CLASSES or name in STORAGES:
        return Named(name)
    return _DTYPES.get(name)
