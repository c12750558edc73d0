"""What a predictor takes for a picture: files, folders, PIL images and arrays, checked first."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..data.readers import PictureReader
from ..pictures import UnreadableFileError
from ..visualization.media import IMAGE_SUFFIXES, MAX_DRAWN_PIXELS, UnreadableError, read_picture

CHANNEL_ORDERS = ("BGR", "RGB")
# what PIL converts to RGB without loss of its range; others hold 16 or 32 bits
_PIL_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"})


@dataclass(frozen=True)
class Picture:
    """One picture, which is read when it is asked for."""

    # an array is RGB (H, W, 3) uint8, or what ``reader`` gives where there is one
    source: Path | np.ndarray
    reader: PictureReader | None = None  # of files with other than three channels

    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8, turned as its EXIF orientation says, as it is drawn on.

        Raises:
            UnreadableError: the file cannot be decoded.
        """
        if self.reader is not None:
            return self.reader.shown(self.pixels(self.reader.image_format))
        return read_picture(self.source) if isinstance(self.source, Path) else self.source

    def pixels(self, image_format: str) -> np.ndarray:
        """(H, W, C) with the channels of a model that takes ``image_format``; uint8, or float32 on
        the scale of 0..255.

        Raises:
            UnreadableError: the file cannot be decoded, or has other bands.
        """
        if self.reader is None:
            image = self.rgb()
            return image if image_format == "RGB" else image[:, :, ::-1]
        if isinstance(self.source, Path):
            return read_file(self.source, self.reader)
        return self.source


def read_file(path: Path, reader: PictureReader | None) -> np.ndarray:
    """What ``reader`` gives for a file, or the file's RGB (H, W, 3).

    Raises:
        UnreadableError: it cannot be decoded, or has other bands.
    """
    if reader is None:
        return read_picture(path)
    try:
        return reader(str(path), max_pixels=MAX_DRAWN_PIXELS)
    except UnreadableFileError as error:
        raise UnreadableError(f"{path}: cannot be read: {error.reason}") from error


def collect_pictures(
    given: Any, channel_order: str, reader: PictureReader | None = None
) -> tuple[list[Picture], bool]:
    """
    Args:
        given: see ``Predictor.__call__``.
        channel_order: of arrays; the other kinds know their own.
        reader: of a model that takes other than three channels.

    Returns:
        The pictures in order, and whether one was given by itself.

    Raises:
        ValueError: something in it is no picture, or a file or folder is missing or empty.
    """
    if channel_order not in CHANNEL_ORDERS:
        raise ValueError(f"channel_order is {channel_order!r}; it is one of {CHANNEL_ORDERS}")
    if isinstance(given, (list, tuple)):
        nested = (collect_pictures(item, channel_order, reader)[0] for item in given)
        return [picture for pictures in nested for picture in pictures], False
    if isinstance(given, str) and not given:  # pathlib takes it for the current folder
        raise ValueError("the path of a picture is empty")
    if isinstance(given, (str, Path)):
        return _of_path(Path(os.path.expanduser(given)), reader)
    if reader is not None and isinstance(given, Image.Image | np.ndarray):
        return [Picture(_of_bands(given, channel_order, reader), reader)], True
    if isinstance(given, Image.Image):
        return [Picture(_of_pil(given))], True
    if isinstance(given, np.ndarray):
        array = _checked(given)
        return [Picture(array if channel_order == "RGB" else array[:, :, ::-1])], True
    raise ValueError(
        f"a picture is a {type(given).__name__}; give a path, a folder, a PIL image, a uint8 array "
        "(H, W, 3), or a list of these (stream() takes an iterator of them, too)"
    )


def _of_path(path: Path, reader: PictureReader | None) -> tuple[list[Picture], bool]:
    if path.is_dir():
        suffixes = IMAGE_SUFFIXES if reader is None else IMAGE_SUFFIXES | {".npy"}
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes)
        if not files:
            raise ValueError(
                f"the folder {path} has no picture ({', '.join(sorted(IMAGE_SUFFIXES))})"
            )
        return [Picture(file, reader) for file in files], False
    if not path.is_file():
        raise ValueError(f"there is no picture {path.absolute()}")
    return [Picture(path, reader)], True


def _of_bands(
    given: Image.Image | np.ndarray, channel_order: str, reader: PictureReader
) -> np.ndarray:
    """(H, W, C) for a model of other than three channels; RGB becomes grey where it takes that."""
    if isinstance(given, Image.Image):
        if reader.takes_rgb:
            return reader.of_rgb(_of_pil(given))
        if given.mode in ("P", "PA"):
            raise ValueError("a PIL image has a palette; convert it to colours")
        given = np.asarray(ImageOps.exif_transpose(given))
    elif reader.takes_rgb and given.ndim == 3 and given.shape[2] == 3:
        array = _checked(given)
        return reader.of_rgb(array if channel_order == "RGB" else array[:, :, ::-1])
    try:
        return reader.checked(given)
    except ValueError as error:
        raise ValueError(f"a picture cannot be taken: {error}") from error


def _of_pil(image: Image.Image) -> np.ndarray:
    if image.mode not in _PIL_MODES:
        raise ValueError(
            f"a PIL image has mode {image.mode}; scale it to 8 bits and convert it to RGB"
        )
    return _checked(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))


def _checked(array: np.ndarray) -> np.ndarray:
    shape: Sequence[int] = array.shape
    if array.ndim != 3 or shape[2] != 3:
        hint = "give three channels, (H, W, 3)"
        if array.ndim == 2 or (array.ndim == 3 and shape[2] == 1):
            hint = "repeat a grey picture's channel three times: np.dstack([grey] * 3)"
        elif array.ndim == 3 and shape[0] == 3:
            hint = "the channels come last: picture.transpose(1, 2, 0)"
        elif array.ndim == 3 and shape[2] == 4:
            hint = "drop the alpha channel: picture[:, :, :3]"
        raise ValueError(f"a picture has the shape {tuple(shape)}; {hint}")
    if array.dtype != np.uint8:
        hint = "give uint8 from 0 to 255"
        if np.issubdtype(array.dtype, np.floating) and array.size and array.max() <= 1:
            hint += ": (255 * picture).round().astype(np.uint8)"
        raise ValueError(f"a picture has the dtype {array.dtype}; {hint}")
    if 0 in shape:
        raise ValueError(f"a picture has the shape {tuple(shape)}, which holds no pixel")
    return array
