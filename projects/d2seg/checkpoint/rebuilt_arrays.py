"""numpy's part of what a pickled checkpoint may name, see ``rebuilding``."""

import math
import re
from typing import Any

import numpy as np

from .allowance import OBJECT_SIZE, Allowance, Named, natural_sizes
from .shown import brief

_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f(?:2|4|8|16)|c(?:8|16)|[SUV][0-9]{0,9}|\?)")
_FORMS = "the state of an array's type is not that of plain numbers"


class DType:
    """In place of ``numpy.dtype``: of numbers, or of text, whose arrays are not made."""

    def __init__(self, spec: Any) -> None:
        match = _DTYPE.fullmatch(spec) if isinstance(spec, str) else None
        if match is None:
            said = brief(spec if isinstance(spec, str) else type(spec).__name__, 40)
            raise ValueError(f"an array is of type '{said}', not of numbers")
        self.is_numeric = match[1][0] not in "SUV"
        self.value = np.dtype(spec if self.is_numeric else "u1")

    def set_state(self, state: Any) -> None:
        """Take the byte order, which is all that the state of a plain type says."""
        if not self.is_numeric:
            return
        if not isinstance(state, tuple) or state[1] not in ("<", ">", "|", "="):
            raise ValueError(_FORMS)
        if any(type(number) is not int for number in (state[0], *state[5:8])):
            raise ValueError(_FORMS)
        if state[2:8] != (None, None, None, -1, -1, 0) or state[8:] not in ((), (None,)):
            raise ValueError(_FORMS)
        if self.value.itemsize > 1 and state[1] != "|":
            self.value = self.value.newbyteorder(state[1])


def from_bytes(
    allowance: Allowance, data: Any, dtype: Any, shape: Any, order: Any = "C"
) -> np.ndarray:
    """In place of numpy's ``_frombuffer``: ``data`` as an array, which shares its memory."""
    if isinstance(dtype, DType) and not dtype.is_numeric:
        return np.empty(0, np.uint8)  # text is no weight
    shape = natural_sizes(shape)
    data = _checked_bytes(allowance, data, dtype, shape)
    return np.frombuffer(data, dtype.value).reshape(shape, order="F" if order == "F" else "C")


def _checked_bytes(
    allowance: Allowance, data: Any, dtype: Any, shape: tuple[int, ...]
) -> bytes | bytearray:
    if isinstance(data, str):  # of Python 2
        allowance.charge(len(data))
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray) or not isinstance(dtype, DType):
        raise ValueError("an array is not of bytes and a type of numbers")
    if math.prod(shape) * dtype.value.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} has {len(data)} bytes")
    allowance.charge(len(data) + OBJECT_SIZE)
    return data


def empty_array(allowance: Allowance, kind: Any, shape: Any, typecode: Any) -> np.ndarray:
    """In place of numpy's ``_reconstruct``, which makes what :func:`set_array_state` fills."""
    if kind != Named("numpy.ndarray") or shape != (0,) or typecode not in ("b", b"b"):
        raise ValueError("an array is not made as numpy makes it")
    allowance.charge(OBJECT_SIZE)
    return np.empty(0, np.int8)


def set_array_state(allowance: Allowance, array: np.ndarray, state: Any) -> None:
    """What ``array.__setstate__`` does, for numbers whose bytes are there."""
    if not isinstance(state, tuple) or len(state) != 5:
        raise ValueError("the state of an array is not of five values")
    _, shape, dtype, is_fortran, data = state
    if isinstance(dtype, DType) and not dtype.is_numeric:
        return  # stays empty
    shape = natural_sizes(shape)
    data = bytes(_checked_bytes(allowance, data, dtype, shape))
    array.__setstate__((1, shape, dtype.value, bool(is_fortran), data))


def scalar(allowance: Allowance, dtype: Any, data: Any) -> Any:
    """In place of numpy's function of that name."""
    array = from_bytes(allowance, data, dtype, ())
    return array[()] if array.ndim == 0 else None


def make_dtype(allowance: Allowance, spec: Any, align: Any = False, copy: Any = False) -> DType:
    allowance.charge(OBJECT_SIZE)
    return DType(spec)
