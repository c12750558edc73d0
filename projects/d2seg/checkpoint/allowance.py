"""What a file may ask for: bounds that follow from its size, and names that stand for functions."""

from typing import Any, NamedTuple

from .plain_pickles import MAX_NUMBERS_AS_KEYS

_ALLOWED_PER_BYTE = 4  # the bytes, their text, the array of them, and a copy
_ALLOWED_BESIDE = 16 << 20  # for the objects around the values
OBJECT_SIZE = 512  # of a tensor or an array without its values, about
BYTES_PER_OPCODE = 64  # of a pickle, for the value that it makes
_MAX_DIMENSIONS = 32  # numpy's own limit before version 2


class Allowance:
    """What may be allocated for a file of ``size`` bytes.

    Attributes:
        left: bytes.

    Raises:
        ValueError: by ``charge``, when there is none left; by ``count_key``, after too many.
    """

    def __init__(self, size: int) -> None:
        self.left = _ALLOWED_PER_BYTE * size + _ALLOWED_BESIDE
        self._num_number_keys = 0

    def charge(self, num_bytes: int) -> None:
        self.left -= num_bytes
        if num_bytes < 0 or self.left < 0:
            raise ValueError("it asks for much more memory than the file has bytes")

    def count_key(self, key: Any) -> None:
        """A key of a dict or set that is a number."""
        if isinstance(key, int | float):
            self._num_number_keys += 1
            if self._num_number_keys > MAX_NUMBERS_AS_KEYS:
                raise ValueError(f"it has more than {MAX_NUMBERS_AS_KEYS} numbers as keys")


class Named(NamedTuple):
    """A function or class by its name; it is looked up in ``FUNCTIONS`` when it is called."""

    name: str


def natural_sizes(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, tuple | list) or len(sizes) > _MAX_DIMENSIONS:
        raise ValueError("a shape is not a short tuple")
    if not all(type(size) is int and 0 <= size < 2**48 for size in sizes):
        raise ValueError("a shape is not of natural numbers")
    return tuple(sizes)
