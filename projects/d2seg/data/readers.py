"""From the file of a picture to the array that a model takes, as ``INPUT`` says.

H, W the picture's size in pixels, C channels, as many as MODEL.PIXEL_MEAN has values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import detection_utils as utils
from PIL import Image

from ..pictures import MAX_PIXELS, check_num_pixels, faults_of, read_oriented
from ..registries import READERS
from .bands import read_bands

PICTURE, BANDS = READERS.built_in
# called with (file name, its content or None); gives (H, W, C), uint8 or float on the scale 0..255
Read = Callable[[str, bytes | None], np.ndarray]


@dataclass(frozen=True)
class PictureReader:
    """Reads files; with ``read``, by that, which knows other formats than Pillow's of 8 bits.

    image_format: of pictures, as detectron2 has it; of bands, what the first three are when they
        are drawn, "RGB" or "BGR".
    num_channels: what files must have; None: they are not counted.
    bands: numbers from 0 of the file's bands, in the order of the model's channels; empty: all.
    """

    image_format: str
    num_channels: int | None = None
    read: Read | None = None
    bands: tuple[int, ...] = ()

    @property
    def takes_rgb(self) -> bool:
        """Whether pictures of three channels and 8 bits are what it is for, or become that."""
        return self.read is None

    @property
    def is_of_three(self) -> bool:
        """Whether it gives pictures of three channels and 8 bits, in one order or the other."""
        return self.read is None and self.image_format != "L"

    def __call__(
        self, file_name: str, content: bytes | None = None, max_pixels: int = MAX_PIXELS
    ) -> np.ndarray:
        """(H, W, C) uint8, or float32 on the scale of 0..255.

        Raises:
            UnreadableFileError: the file is missing or damaged, too large, or has not the bands
                that the config asks for.
        """
        return self.oriented(file_name, content, max_pixels)[0]

    def oriented(
        self, file_name: str, content: bytes | None = None, max_pixels: int = MAX_PIXELS
    ) -> tuple[np.ndarray, int]:
        """As :meth:`__call__`, with the EXIF orientation that has been applied; 1: none, or of
        bands, to which no unturned label map is compared."""
        if self.read is None:
            return read_oriented(file_name, self.image_format, max_pixels, content)
        with faults_of(file_name):
            image = self.checked(self._chosen(self.read(file_name, content)))
            check_num_pixels(image.shape[1], image.shape[0], max_pixels)
            return image, 1

    def shown_size_and_grey(
        self, file_name: str, side: int
    ) -> tuple[tuple[int, int, bool], np.ndarray | None]:
        """As ``pictures.shown_size_and_grey``; the file is read in full, its bands are counted, and
        grey is what :meth:`shown` gives.

        Raises:
            UnreadableFileError: as :meth:`__call__`.
        """
        image, orientation = self.oriented(file_name)
        size = image.shape[0], image.shape[1], orientation > 1
        if not side:
            return size, None
        grey = Image.fromarray(self.shown(image)).convert("L")
        return size, np.asarray(grey.resize((side, side), Image.Resampling.BOX))

    def checked(self, image: np.ndarray) -> np.ndarray:
        """An array (H, W) or (H, W, C) of the model's channels as (H, W, C).

        Raises:
            ValueError: of another shape or type, without pixels, of too few or too many bands, or
                with values that are no numbers.
        """
        image = image[:, :, None] if image.ndim == 2 else image
        if image.ndim != 3 or 0 in image.shape:
            raise ValueError(f"it is of the shape {image.shape}, no (H, W, C)")
        if self.num_channels not in (None, image.shape[2]):
            raise ValueError(
                f"it has {_count(image.shape[2], 'band')}, and MODEL.PIXEL_MEAN has "
                f"{_count(self.num_channels, 'value')}{self._hint(image.shape)}"
            )
        if image.dtype == np.uint8:
            return image
        if image.dtype.kind != "f":
            raise ValueError(f"it is of the type {image.dtype}; give uint8 or floats up to 255")
        if not np.isfinite(image).all():
            raise ValueError("it has values that are NaN or infinite; put numbers there")
        return image.astype(np.float32, copy=False)

    def _chosen(self, image: np.ndarray) -> np.ndarray:
        """The bands of a file that the model sees, in its order."""
        if not self.bands or image.ndim not in (2, 3):
            return image
        image = image[:, :, None] if image.ndim == 2 else image
        if max(self.bands) >= image.shape[2]:
            raise ValueError(
                f"it has {_count(image.shape[2], 'band')}, and INPUT.BANDS asks for "
                f"{list(self.bands)}, counted from 0"
            )
        return image[:, :, list(self.bands)]

    def _hint(self, shape: Sequence[int]) -> str:
        if shape[0] == self.num_channels:
            return "; the bands come last, as (H, W, C)"
        if shape[2] > self.num_channels:
            return "; INPUT.BANDS chooses some of them"
        return ""

    def of_rgb(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB, as of a video's frame, as files of pictures are given."""
        if self.image_format == "RGB":
            return image
        if self.image_format == "L":
            return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)[:, :, None]
        return image[:, :, ::-1]

    def shown(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB of what :meth:`__call__` gives, to draw on: the first three channels
        as red, green and blue (the other way round for BGR); of one or two, the first as grey."""
        if self.read is None:
            return np.ascontiguousarray(utils.convert_image_to_rgb(image, self.image_format))
        chosen = image[:, :, :3] if image.shape[2] >= 3 else np.repeat(image[:, :, :1], 3, axis=2)
        if self.image_format == "BGR":
            chosen = chosen[:, :, ::-1]
        return np.ascontiguousarray(np.clip(np.rint(chosen), 0, 255).astype(np.uint8))


def build_reader(cfg: CfgNode) -> PictureReader:
    """What ``INPUT.READER`` names.

    Raises:
        ValueError: there is nothing of that name.
    """
    name, node = cfg.INPUT.READER, cfg.INPUT
    READERS.check(name)
    if name == PICTURE:
        return PictureReader(node.FORMAT, len(cfg.MODEL.PIXEL_MEAN))
    if name == BANDS:
        read: Read = partial(read_bands, value_range=tuple(node.VALUE_RANGE))
    else:
        read = READERS.get(name)(cfg)
    return PictureReader(node.FORMAT, len(cfg.MODEL.PIXEL_MEAN), read, tuple(node.BANDS))


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'s' if number != 1 else ''}"
