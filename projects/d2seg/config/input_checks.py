"""Values of INPUT with which no picture can be cropped, resized or flipped."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode

_CROP_TYPES = ("relative", "relative_range", "absolute", "absolute_range")
_FLIPS = ("none", "horizontal", "vertical")
_SAMPLINGS = ("choice", "range")
_FORMATS = ("RGB", "BGR", "L", "YUV-BT.601")


def check_input(cfg: CfgNode, *, training: bool) -> None:
    """See that sizes are numbers that a picture can have, and names such as detectron2 knows.

    Args:
        training: an evaluation neither crops nor flips.

    Raises:
        ValueError: one is not; the message has key, value and remedy.
    """
    node = cfg.INPUT
    _one_of("INPUT.FORMAT", node.FORMAT, _FORMATS)
    for key in ("MIN_SIZE_TEST", "MAX_SIZE_TEST"):
        _size(f"INPUT.{key}", node[key], least=0 if key == "MIN_SIZE_TEST" else 1)
    for key in ("FIXED_SIZE", "SLICE_SIZE", "REFERRING_SIZE"):
        _pair(f"INPUT.{key}", node[key])
    if not training:
        return
    _one_of("INPUT.RANDOM_FLIP", node.RANDOM_FLIP, _FLIPS)
    _one_of("INPUT.MIN_SIZE_TRAIN_SAMPLING", node.MIN_SIZE_TRAIN_SAMPLING, _SAMPLINGS)
    sizes = node.MIN_SIZE_TRAIN
    sizes = (sizes,) if isinstance(sizes, int) else sizes
    if not sizes or (node.MIN_SIZE_TRAIN_SAMPLING == "range" and len(sizes) != 2):
        raise ValueError(
            f"INPUT.MIN_SIZE_TRAIN is {sizes!r}; it has one size at least, and two with "
            "INPUT.MIN_SIZE_TRAIN_SAMPLING range"
        )
    for size in sizes:
        _size("INPUT.MIN_SIZE_TRAIN", size, least=0)
    _size("INPUT.MAX_SIZE_TRAIN", node.MAX_SIZE_TRAIN, least=1)
    if node.PAD_SIZE:
        _pair("INPUT.PAD_SIZE", node.PAD_SIZE)
    if node.CROP.ENABLED:
        _check_crop(node.CROP.TYPE, node.CROP.SIZE)


def _check_crop(kind: str, size: Sequence[Any]) -> None:
    _one_of("INPUT.CROP.TYPE", kind, _CROP_TYPES)
    if kind.startswith("absolute"):
        _pair("INPUT.CROP.SIZE", size, f" with INPUT.CROP.TYPE {kind}")
        if kind == "absolute_range" and size[0] > size[1]:
            raise ValueError(
                f"INPUT.CROP.SIZE is {list(size)}; with INPUT.CROP.TYPE absolute_range it is the "
                "shortest and the longest side, in this order"
            )
        return
    if len(size) != 2 or not all(_is_number(x) and 0 < x <= 1 for x in size):
        raise ValueError(
            f"INPUT.CROP.SIZE is {list(size)}; with INPUT.CROP.TYPE {kind} it is two numbers above "
            "0 and at most 1, shares of height and width"
        )


def _pair(key: str, values: Sequence[Any], when: str = "") -> None:
    if len(values) != 2 or not all(type(x) is int and x > 0 for x in values):
        raise ValueError(
            f"{key} is {list(values)}; it is two whole numbers of pixels above 0{when}"
        )


def _size(key: str, value: Any, least: int) -> None:
    if type(value) is not int or value < least:
        zero = " (0: as the file has it)" if least == 0 else ""
        raise ValueError(
            f"{key} is {value!r}; it is a whole number of pixels, {least} or more{zero}"
        )


def _one_of(key: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{key} is '{value}'; it is one of {', '.join(choices)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
