"""What a key of a config can be set to at all: by the kind of its default, finite, of 64 bits.

yacs takes None in the place of anything, and anything inside of a list; what comes of that is an
error of whoever reads the key, hours later if it is read at the end.
"""

import math
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

_NAMES = ("DATASETS.*", "IMPORTS", "TEST.EVALUATORS", "TEST.TASKS")  # lists, empty by default
# numbers below 0 that mean something, where the default is above
_MAY_BE_NEGATIVE = ("MODEL.BACKBONE.FREEZE_AT", "*.SIZE_DIVISIBILITY", "*THRESH*", "MODEL.*_VALUE")
_SIZES = ("HEADS", "DIM", "FEEDFORWARD", "CHANNELS", "QUERIES", "CLASSES", "WINDOW_SIZE")
_MORE_SIZES = ("PATCH_SIZE", "IMAGE_SIZE", "DIMS", "REDUCTIONS")  # the latter two in lists
_NEVER_ZERO = tuple(f"MODEL.*{size}" for size in (*_SIZES, *_MORE_SIZES))
_LARGEST = 2**63 - 1


def check_kind(key: str, value: Any, default: Any) -> None:
    """See that ``value``, which is of the type of ``default``, holds what a key can hold.

    Raises:
        ValueError: it holds nothing, or numbers that are not finite, of more than 64 bits, or below
            0, or 0, where there is no such thing; or entries of other kinds than those of
            ``default``.
    """
    if value is None:
        if default is not None:
            raise ValueError(
                f"{key} is empty (None); set it to a value, as {default!r}, or leave it out"
            )
        return
    for number in _numbers(value):
        if not math.isfinite(number) and all(map(math.isfinite, _numbers(default))):
            raise ValueError(f"{key} is {value!r}; it is finite, as {default!r}")
        if isinstance(number, int) and abs(number) > _LARGEST:
            raise ValueError(f"{key} is {value!r}, which is beyond 64 bits; set it to {default!r}")
    if isinstance(value, list | tuple):
        _check_entries(key, value, default)
    elif type(value) in (int, float) and value < 0 and _is_never_negative(key, default):
        raise ValueError(f"{key} is {value!r}; it is 0 or more, as {default!r}")
    elif type(value) is int and value == 0 and default and _is_never_zero(key):
        raise ValueError(f"{key} is 0; it is 1 or more, as {default!r}")


def _check_entries(key: str, value: list | tuple, default: Any) -> None:
    kinds = set(map(type, default or ()))
    if not kinds and any(fnmatchcase(key, pattern) for pattern in _NAMES):
        kinds = {str}
    if kinds <= {int, float}:
        kinds = kinds and {int, float}
    if kinds in ({str}, {int, float}) and not kinds.issuperset(map(type, value)):
        what = "names" if kinds == {str} else "numbers"
        like = f", as {default!r}" if default else ""
        raise ValueError(f"{key} is {value!r}; it is a list of {what}{like}")

    # lists of sizes, one for each stage
    are_sizes = key.startswith("MODEL.") and all(type(v) is int and v > 0 for v in default or [0])
    lowest = 1 if _is_never_zero(key) else 0
    if are_sizes and any(type(v) in (int, float) and v < lowest for v in value):
        raise ValueError(
            f"{key} is {value!r}; each of its numbers is {lowest} or more, as {default!r}"
        )


def _is_never_negative(key: str, default: Any) -> bool:
    if type(default) not in (int, float) or any(fnmatchcase(key, p) for p in _MAY_BE_NEGATIVE):
        return False
    is_size = key.startswith("MODEL.") and type(default) is int and default > 0
    return is_size or (key.startswith(("SOLVER.", "DATALOADER.")) and default >= 0)


def _is_never_zero(key: str) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in _NEVER_ZERO)


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
