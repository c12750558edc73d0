"""Values of INPUT with which no picture can be read, cropped, resized or flipped."""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode

from ..registries import MAPPERS, READERS

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
    check_channels(cfg)
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


def check_channels(cfg: CfgNode) -> None:
    """See that pictures have as many channels as MODEL.PIXEL_MEAN has values, as far as INPUT says
    it, and that what works on three channels alone has them.

    Raises:
        ValueError: they have not; the message has key, value and remedy.
    """
    node, model = cfg.INPUT, cfg.MODEL
    number = len(model.PIXEL_MEAN)
    if number != len(model.PIXEL_STD) or not number:
        raise ValueError(
            f"MODEL.PIXEL_MEAN has {number} values, MODEL.PIXEL_STD {len(model.PIXEL_STD)}; both "
            "have one for each channel"
        )
    if not all(value > 0 for value in model.PIXEL_STD):
        raise ValueError(
            f"MODEL.PIXEL_STD is {list(model.PIXEL_STD)}, by which pictures are divided; each of "
            "its values is above 0"
        )
    READERS.check(node.READER)
    _one_of("MODEL.BACKBONE.NEW_CHANNELS", model.BACKBONE.NEW_CHANNELS, ("mean", "zero"))
    is_of_timm = model.TIMM.PRETRAINED or model.VIT.PRETRAINED
    if model.BACKBONE.NEW_CHANNELS == "zero" and number > 3 and is_of_timm:
        raise ValueError(
            "MODEL.BACKBONE.NEW_CHANNELS is zero, and weights that timm fetches (PRETRAINED True) "
            "are widened by timm, which repeats them; give the weights as MODEL.WEIGHTS"
        )
    if node.MAPPER == "slice":
        if number not in (1, 3):
            raise ValueError(
                f"MODEL.PIXEL_MEAN has {number} values; slices of INPUT.MAPPER slice have one "
                "channel, given once or three times"
            )
    elif node.READER == "picture" and node.MAPPER in MAPPERS.built_in:  # another reads what it will
        _check_picture(node.FORMAT, number, [*node.BANDS], [*node.VALUE_RANGE])
    else:
        _check_bands(node, number)


def _check_picture(image_format: str, number: int, bands: list, value_range: list) -> None:
    given = 1 if image_format == "L" else 3
    if number != given:
        raise ValueError(
            f"MODEL.PIXEL_MEAN has {number} values, pictures in INPUT.FORMAT {image_format} have "
            f"{given}; INPUT.READER bands reads any number of bands, INPUT.FORMAT L reads grey"
        )
    for key, value in (("BANDS", bands), ("VALUE_RANGE", value_range)):
        if value:
            raise ValueError(f"INPUT.{key} is {value}; it goes with INPUT.READER bands")


def _check_bands(node: CfgNode, number: int) -> None:
    reader, bands, limits = node.READER, [*node.BANDS], [*node.VALUE_RANGE]
    if node.MAPPER == "referring":
        raise ValueError(
            f"INPUT.READER is {reader}; INPUT.MAPPER referring takes INPUT.READER picture"
        )
    if node.COLOR_AUG_SSD:
        raise ValueError(
            f"INPUT.COLOR_AUG_SSD changes hues of RGB; with INPUT.READER {reader} set it to False"
        )
    if not all(type(band) is int and band >= 0 for band in bands) or (
        bands and len(bands) != number
    ):
        raise ValueError(
            f"INPUT.BANDS is {bands}; it is empty, or has a number from 0 for each of the {number} "
            "values of MODEL.PIXEL_MEAN"
        )
    if limits and not (len(limits) == 2 and all(map(_is_number, limits)) and limits[0] < limits[1]):
        raise ValueError(
            f"INPUT.VALUE_RANGE is {limits}; it is empty, or the value that becomes 0 and a higher "
            "one that becomes 255"
        )
    if limits and reader != "bands":
        raise ValueError(f"INPUT.VALUE_RANGE is {limits}; it goes with INPUT.READER bands")


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
