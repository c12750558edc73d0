"""What a file may ask for: bounds that follow from its size, and names that stand for functions."""

from typing import Any, NamedTuple

_ALLOWED_PER_BYTE = 4  # the bytes, their text, the array of them, and a copy
_ALLOWED_BESIDE = 16 << 20  # for the objects around the values
OBJECT_SIZE = 512  # of a tensor or an array without its values, about
_MAX_DIMENSIONS = 32  # numpy's own limit before version 2


class Allowance:
    """What may be allocated for a file of ``size`` bytes.

    Raises:
        ValueError: by ``charge``, when there is none left.
    """

    def __init__(self, size: int) -> None:
        self._left = _ALLOWED_PER_BYTE * size + _ALLOWED_BESIDE

    def charge(self, num_bytes: int) -> None:
        self._left -= num_bytes
        if num_bytes < 0 or self._left < 0:
            raise ValueError("it asks for much more memory than the file has bytes")


class Named(NamedTuple):
    """A function or class by its name; it is looked up in ``FUNCTIONS`` when it is called."""

    name: str


def natural_sizes(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, tuple | list) or len(sizes) > _MAX_DIMENSIONS:
        raise ValueError("a shape is not a short tuple")
    if not all(type(size) is int and 0 <= size < 2**48 for size in sizes):
        raise ValueError("a shape is not of natural numbers")
    return tuple(sizes)
