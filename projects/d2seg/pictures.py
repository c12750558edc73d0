"""The one reader of picture files, for data sets and for drawing, with errors that name the file.

A file is decoded in full before its EXIF data are looked at: Pillow swallows the error of a damaged
file when its EXIF data are asked for first, and hands out whatever was decoded until then.

Shapes: H, W of the picture as it is shown, C channels.
"""

import io
import logging
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import torch
from detectron2.data import detection_utils as utils
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import log_first_n
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 178_956_970  # of one picture: beyond that, Pillow suspects an attack and refuses
# What Pillow's decoders raise for a damaged file, beside OSError; the fuzzed tests found them.
_DAMAGE = (
    *(SyntaxError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError),
    *(EOFError, MemoryError, struct.error, zlib.error, Image.DecompressionBombError),
)
_OUT_OF_MEMORY = (
    *("can't allocate memory", "not enough memory", "out of memory", "bad_alloc"),
    "could not create a primitive",  # of oneDNN
)
_SMALL_FILE = 1 << 16  # bytes
_POINTER, _LARGEST_POINTER = b"version https://git-lfs", 256  # of Git LFS; bytes
_OF_BANDS = (".tif", ".tiff", ".npy")
_SIXTEEN_BITS = {"I;16", "I;16L", "I;16B", "I;16N", "I"}
_ORIENTATION, _PHOTOMETRIC = 0x0112, 262  # tags of EXIF and TIFF; of the latter 0: white is 0
# where Pillow looks for EXIF data, beside the tags of a TIFF
_EXIF_KEYS = frozenset({"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"})
RAW_MODE = "raw mode"  # in the info of an opened picture: as Pillow calls the file's pixels, "L;4"


class UnreadableFileError(ValueError):
    """A file that is missing or damaged, or that is no picture; the message names it.

    Attributes:
        reason: the message without the file.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        """A data loader makes the error of its worker anew, from the message alone."""
        super().__init__(message)
        self.reason = reason


def _unreadable(file_name: str, reason: str) -> UnreadableFileError:
    return UnreadableFileError(f"cannot read the image {file_name}: {reason}", reason)


def read_image(
    file_name: str,
    image_format: str,
    max_pixels: int = MAX_PIXELS,
    content: bytes | None = None,
    formats: Sequence[str] | None = None,
) -> np.ndarray:
    """A picture in detectron2's format, turned as its EXIF orientation says.

    Grey of 16 bits is scaled from 0..65535 to 0..255, unless no value exceeds 255; grey of floating
    point numbers from 0..1, unless a value exceeds 1.

    Args:
        image_format: as of detectron2's ``read_image``
        content: of the file, where it is at hand; ``file_name`` is then what errors call it.
        formats: of files, as Pillow names them, that are tried; None: all that it knows.

    Returns:
        (H, W, C) uint8; float for the format YUV-BT.601

    Raises:
        UnreadableFileError: the file is missing or damaged, has more than ``max_pixels``, or grey
            values that have no place in 0..255.
    """
    return read_oriented(file_name, image_format, max_pixels, content, formats)[0]


def read_oriented(
    file_name: str,
    image_format: str,
    max_pixels: int = MAX_PIXELS,
    content: bytes | None = None,
    formats: Sequence[str] | None = None,
) -> tuple[np.ndarray, int]:
    """As :func:`read_image`, with the EXIF orientation that has been applied; 1 is none."""
    with opened(file_name, max_pixels, content, formats) as image:
        picture = _as_bytes(image)
        orientation = _orientation(image)
        if _has_exif(image):
            # detectron2's, since Pillow's own writes the EXIF data anew and fails on odd ones
            picture = utils._apply_exif_orientation(picture)
        return utils.convert_PIL_to_numpy(picture, image_format), orientation


def shown_size(file_name: str) -> tuple[int, int, bool]:
    """(height, width) of a picture as :func:`read_image` gives it, and whether EXIF turns it.

    Raises:
        UnreadableFileError: as :func:`read_image`.
    """
    return shown_size_and_grey(file_name, 0)[0]


def shown_size_and_grey(
    file_name: str, side: int
) -> tuple[tuple[int, int, bool], np.ndarray | None]:
    """As :func:`shown_size`, and the picture in ``side`` x ``side`` grey means of its parts, uint8,
    turned as it is shown; None if ``side`` is 0.

    Raises:
        UnreadableFileError: as :func:`read_image`.
    """
    with opened(file_name) as image:
        picture = _as_bytes(image)
        width, height = image.size
        if image.getexif().get(_ORIENTATION) in range(5, 9):  # a quarter turn
            width, height = height, width
        size = height, width, turned_by_exif(image)
        if not side:
            return size, None
        grey = picture.convert("L").resize((side, side), Image.Resampling.BOX)
        if _orientation(image) > 1:
            grey.getexif()[_ORIENTATION] = _orientation(image)
            grey = ImageOps.exif_transpose(grey)
        return size, np.asarray(grey)


@contextmanager
def opened(
    file_name: str | Path,
    max_pixels: int = MAX_PIXELS,
    content: bytes | None = None,
    formats: Sequence[str] | None = None,
) -> Iterator[Image.Image]:
    """The decoded picture of a file, or of its ``content``. What fails in the block counts as the
    file's fault, too.

    Raises:
        UnreadableFileError: as :func:`read_image`.
    """
    with (
        faults_of(file_name),
        stream(file_name, content) as file,
        Image.open(file, formats=formats) as image,
    ):
        check_num_pixels(*image.size, max_pixels)
        image.info[RAW_MODE] = _raw_mode(image)
        image.load()
        if getattr(image, "is_animated", False) and image.format != "MPO":
            # not of a camera's MPO, whose others are previews
            text = f"{str(file_name)!r} has several pages or frames: the first alone is read"
            log_first_n(logging.WARNING, f"{text}, as of all such files", name=__name__)
        yield image


def _raw_mode(image: Image.Image) -> str:
    """Of a picture that is not decoded yet; empty: unknown."""
    arguments = image.tile[0][3] if getattr(image, "tile", None) else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


@contextmanager
def faults_of(file_name: str | Path) -> Iterator[None]:
    """Within the block, what a decoder raises for a damaged file is an error that names it.

    Raises:
        UnreadableFileError: as :func:`read_image`.
    """
    try:
        yield
    except UnreadableFileError:
        raise
    except UnidentifiedImageError as error:
        reason = "it is no picture, or a damaged one"
        if str(file_name).lower().endswith(_OF_BANDS):
            reason += " (INPUT.READER bands reads .npy files and TIFFs of any number of bands)"
        raise _unreadable(file_name, reason) from error
    except (OSError, *_DAMAGE) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _unreadable(file_name, reason) from error


def drawing_failure(error: Exception) -> str | None:
    """Why one picture could not be processed, where another one may be; None for other errors.

    That is what OpenCV refuses, what overflows, and memory that there is not: numpy raises
    ``MemoryError``, torch a ``RuntimeError`` whose text alone tells, on a CPU, or its own class, on
    a GPU.
    """
    text = " ".join(str(error).split())
    if isinstance(error, torch.OutOfMemoryError):
        return f"not enough memory: {text}"
    is_memory = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(part in text.lower() for part in _OUT_OF_MEMORY)
    )
    if is_memory:
        return f"not enough memory: {text or 'make the picture smaller, or set TEST.TILES'}"
    return (text or type(error).__name__) if isinstance(error, cv2.error | OverflowError) else None


def stream(file_name: str | Path, content: bytes | None) -> IO[bytes]:
    """A file, or its ``content``, to read from; no pipe, device or folder."""
    if content is not None:
        return io.BytesIO(content)
    size = refuse_special_file(file_name)
    if size is None or size > _SMALL_FILE:
        return PathManager.open(str(file_name), "rb")  # the caller closes it
    # at once, without PathManager: both take a tenth of the time of reading a small label map
    with open(file_name, "rb", buffering=0) as file:
        return io.BytesIO(file.readall())


def refuse_special_file(file_name: str | Path) -> int | None:
    """Bytes of a file; None: it is not there, or not on this machine.

    Raises:
        ValueError: it is a pipe, a device or a folder, whose reading might never end; or what Git
            LFS leaves in the place of a file until that is fetched.
    """
    try:
        status = os.stat(file_name)
    except (OSError, ValueError):  # opening it says so
        return None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("it is no regular file")
    if status.st_size <= _LARGEST_POINTER:  # next to no picture: nothing else is opened twice
        with suppress(OSError), open(file_name, "rb", buffering=0) as file:
            if file.read(len(_POINTER)) == _POINTER:
                raise ValueError("it is a Git LFS pointer; fetch the file itself: git lfs pull")
    return status.st_size


def check_num_pixels(width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Raise ``ValueError`` where a picture is larger than what is read at once."""
    if width * height > max_pixels:
        raise ValueError(
            f"it has {width}x{height} pixels (width x height), more than {max_pixels}; make it "
            "smaller or cut it into parts"
        )


def turned_by_exif(image: Image.Image) -> bool:
    """Whether a decoded picture has an EXIF orientation that turns or mirrors it."""
    return _orientation(image) > 1


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1 where the EXIF data of a decoded picture say nothing that counts."""
    if not _has_exif(image):
        return 1
    try:
        found = image.getexif().get(_ORIENTATION)
    except _DAMAGE:  # EXIF data that cannot be read turn nothing, here as in detectron2
        return 1
    return found if found in range(2, 9) else 1


def _has_exif(image: Image.Image) -> bool:
    """Whether there is anything to ask for an orientation: asking where there is not, as in most
    label maps, costs a tenth of reading a small picture."""
    if _ORIENTATION in getattr(image, "tag_v2", ()):  # of a TIFF
        return True
    return not _EXIF_KEYS.isdisjoint(image.info)


def _as_bytes(image: Image.Image) -> Image.Image:
    """Grey of 16 bits or of floating point numbers, which Pillow would cut off at 255, as 8 bits;
    any other picture as it is."""
    if image.mode not in _SIXTEEN_BITS and image.mode != "F":
        return image
    values = np.asarray(image)
    lowest, highest = (values.min(), values.max()) if values.size else (0, 0)
    if not (lowest >= 0 and highest <= (255 if image.mode == "F" else 65535)):  # NaN fails, too
        raise ValueError(f"its grey values are {lowest} to {highest}; convert it to 8 bits")
    if image.mode == "F":
        values = np.rint(values * np.float32(255) if highest <= 1 else values)
    elif highest > 255:
        values = (values.astype(np.uint32) + 128) // 257
    values = values.astype(np.uint8)
    is_negative = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0  # Pillow minds it at 8 bits
    grey = Image.fromarray(~values if is_negative else values)
    grey.info = image.info
    grey.getexif().update(image.getexif())
    return grey
