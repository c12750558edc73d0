"""Pictures of any number of bands and type of numbers: TIFF, ``.npy``, and what Pillow reads.

H, W the picture's size in pixels, C bands.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import IO, Any

import numpy as np
from detectron2.data import detection_utils as utils

from ..checkpoint.npz import read_npy
from ..pictures import MAX_PIXELS, check_num_pixels, faults_of, opened, stream

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two of 64-bit offsets
_NPY = b"\x93NUMPY"
_PALETTES = ("P", "PA")
_MAX_NUMBERS = 4 * MAX_PIXELS  # of a picture, all bands together
_MIN_IS_WHITE, _PALETTE = 0, 3  # photometric interpretations of TIFF


def import_tifffile() -> ModuleType:
    """
    Raises:
        ValueError: it is not installed.
    """
    try:
        import tifffile
    except ImportError as error:
        raise ValueError(
            "TIFFs are read with tifffile, which is missing: pip install 'd2seg[tiff]'"
        ) from error
    return tifffile


def read_bands(
    file_name: str, content: bytes | None = None, *, value_range: Sequence[float] = ()
) -> np.ndarray:
    """A picture with the bands and in the order that its file has, on the scale of 0..255.

    Of a TIFF the first picture counts; its pages are bands where they are of one size. An array of
    ``numpy.save`` is (H, W) or (H, W, C). Pictures of other formats are turned as EXIF says.

    Args:
        content: of the file, where it is at hand; ``file_name`` is then what errors call it.
        value_range: the values that become 0 and 255, beyond which values are cut off; empty: the
            rule of ``pictures.read_image`` for grey, see :func:`on_scale`.

    Returns:
        (H, W, C) uint8 where the file holds bytes and ``value_range`` is empty, else float32.

    Raises:
        UnreadableFileError: the file is missing or damaged, too large, has a palette, no form of
            (H, W, C), or values that have no place in 0..255; or tifffile is missing.
    """
    with faults_of(file_name):
        with stream(file_name, content) as file:
            start = file.read(len(_NPY))
            file.seek(0)
            if start.startswith(_TIFF):
                values = _read_tiff(file)
            elif start == _NPY:
                values = _in_rows(read_npy("it", file.read()))
            else:
                values = None
        if values is None:
            values = _read_by_pillow(file_name, content)
        return on_scale(values, value_range)


def on_scale(values: np.ndarray, value_range: Sequence[float] = ()) -> np.ndarray:
    """Bring numbers to the scale of 0..255, on which MODEL.PIXEL_MEAN is.

    Bytes stay. Integers of more bits go from 0..65535 to 0..255, unless no value exceeds 255;
    floating point numbers from 0..1, unless a value exceeds 1. Unlike 8 bits, the result keeps
    the steps between.

    Args:
        value_range: the values that become 0 and 255, in place of these rules.

    Raises:
        ValueError: NaN or infinite values, or, without a range, values that the rules do not cover.
    """
    if values.dtype.kind == "b":
        values = values * np.uint8(255)
    if values.dtype.kind not in "uif":
        raise ValueError(f"its values are of the type {values.dtype}; give real numbers")
    if values.dtype.kind == "f":
        num_wrong = values.size - np.count_nonzero(np.isfinite(values))
        if num_wrong:
            raise ValueError(
                f"{num_wrong} of its {values.size} values are NaN or infinite; put a number there"
            )
    if len(value_range):
        low, high = value_range
        scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
        return np.clip(scaled, 0, 255, out=scaled)
    if values.dtype == np.uint8:
        return values
    lowest, highest = (values.min(), values.max()) if values.size else (0, 0)
    is_real = values.dtype.kind == "f"
    if lowest < 0 or highest > (255 if is_real else 65535):
        raise ValueError(
            f"its values are {lowest} to {highest}; set INPUT.VALUE_RANGE to the two that become 0 "
            "and 255"
        )
    factor = 1.0
    if is_real and highest <= 1:
        factor = 255.0
    elif highest > 255:
        factor = 1 / 257
    return values.astype(np.float32) * np.float32(factor)


def _read_tiff(file: IO[bytes]) -> np.ndarray:
    tifffile = import_tifffile()
    try:
        with tifffile.TiffFile(file) as tiff:
            if not tiff.series:
                raise ValueError("it holds no picture")
            series = tiff.series[0]
            page = series.keyframe
            sides = dict(zip(series.axes, series.shape, strict=True))
            check_num_pixels(sides.get("X", 1), sides.get("Y", 1))
            _check_count(series.shape)
            if page.photometric == _PALETTE:
                raise ValueError("its values are numbers of a palette; convert it to colours")
            _check_whole(series, file)
            values = _bands_last(series.asarray(), series.axes)
            if page.photometric == _MIN_IS_WHITE and values.dtype.kind == "u":
                values = np.iinfo(values.dtype).max - values
            return values
    except (tifffile.TiffFileError, RuntimeError, NotImplementedError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def _check_whole(series: Any, file: IO[bytes]) -> None:
    """Raise ``ValueError`` where a TIFF ends before its pixels do: zeros would stand for them."""
    size = file.seek(0, 2)
    for page in filter(None, series.pages):
        ends = zip(page.dataoffsets, page.databytecounts, strict=True)
        if max((offset + count for offset, count in ends), default=0) > size:
            raise ValueError("it is cut off")


def _bands_last(values: np.ndarray, axes: str) -> np.ndarray:
    """(H, W, C) of an array whose axes are named as tifffile does."""
    kept = [i for i, name in enumerate(axes) if name in "YX" or values.shape[i] > 1]
    shape, names = [values.shape[i] for i in kept], [axes[i] for i in kept]
    if not {"Y", "X"} <= set(names) or len(names) > 3:
        raise ValueError(f"its pixels are of the shape {values.shape} ({axes}), no (H, W, C)")
    bands = [i for i, name in enumerate(names) if name not in "YX"]
    values = values.reshape(shape).transpose(names.index("Y"), names.index("X"), *bands)
    return values if bands else values[:, :, None]


def _in_rows(values: np.ndarray) -> np.ndarray:
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise ValueError(f"its array is of the shape {values.shape}, no (H, W) or (H, W, C)")
    check_num_pixels(values.shape[1], values.shape[0])
    _check_count(values.shape)
    return values if values.ndim == 3 else values[:, :, None]


def _check_count(shape: Sequence[int]) -> None:
    number = int(np.prod(shape, dtype=object))
    if number > _MAX_NUMBERS:
        raise ValueError(f"it holds {number} numbers, more than {_MAX_NUMBERS}; cut it into parts")


def _read_by_pillow(file_name: str, content: bytes | None) -> np.ndarray:
    with opened(file_name, content=content) as image:
        if image.mode in _PALETTES:
            raise ValueError("its values are numbers of a palette; convert it to colours")
        values = np.asarray(utils._apply_exif_orientation(image))
    return values if values.ndim == 3 else values[:, :, None]
