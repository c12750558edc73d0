"""Reading and writing of maps of segment ids (COCO panoptic PNG) and of class labels.

A COCO panoptic PNG stores one segment id per pixel: ``id = R + 256 * G + 256**2 * B``; 0 is void
(https://cocodataset.org/#format-data, "Panoptic Segmentation").
"""

import re
import struct
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps

from ..pictures import (
    RAW_MODE,
    UnreadableFileError,
    check_num_pixels,
    opened,
    refuse_special_file,
    turned_by_exif,
)
from .label_values import LabelValues

NUM_IDS = 256**3  # what three 8-bit channels can hold
# by the number of channels; palettes are resolved already
_TO_RGBA = {1: cv2.COLOR_GRAY2RGBA, 3: cv2.COLOR_BGR2RGBA, 4: cv2.COLOR_BGRA2RGBA}
# Modes of Pillow whose pixels are ids. A palette image ("P") holds ids too; converting it to "L"
# would replace them by the brightness of their colours.
_ID_MODES = {"1", "L", "P", "I", "I;16", "I;16L", "I;16B"}
# by how much Pillow multiplies grey of 2 and 4 bits, which is then as bright as it is meant
_SHADES = {"L;2": 85, "L;4": 17}
_GREY_IN_COLOR = {"LA", "RGB", "RGBA"}
_BITS_PER_SAMPLE, _SAMPLE_FORMAT = 258, 339  # tags of TIFF
_INVERTED = re.compile(r"[1L](;[24]?I)R?")  # raw modes that Pillow inverts; R: bits in reverse
_FAX = {"tiff_ccitt", "group3", "group4"}  # compressions whose programs store white as 0
_ID_CODE = "a panoptic PNG has id = R + 256 G + 256^2 B in three channels of 8 bits"
_REMEDY = (
    "write id % 256, id // 256 % 256 and id // 256**2 there; PNGs that number objects in one "
    "channel are declared as task: instance with 'labels' (docs/own_data.md)"
)
_MAX_SPREAD = 16  # between the channels of a grey picture that JPEG has coded as colours


def read_id_map(path: str) -> np.ndarray:
    """Segment ids of a COCO panoptic PNG, (H, W) uint32 in [0, 2**24).

    OpenCV reads it, which refuses what is damaged, in a third of Pillow's time. It is turned as its
    EXIF orientation says, as pictures are.

    Raises:
        ValueError: the file cannot be decoded, is too large, or has not 8 bits per channel.
    """
    try:
        refuse_special_file(path)
        with PathManager.open(path, "rb") as file:
            content = file.read()
        size = _png_size(content)
        if size is None:
            raise ValueError("it is no PNG")
        check_num_pixels(*size)
        # (H, W) or (H, W, C) BGR
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, ValueError, MemoryError, cv2.error) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: the segment ids cannot be read: {reason}") from error
    if pixels is None:
        raise ValueError(f"{path}: the segment ids cannot be read: no image, or a damaged one")
    if pixels.dtype != np.uint8:
        raise ValueError(
            f"{path}: the segment ids cannot be read: the image has {pixels.dtype} channels, but "
            f"{_ID_CODE}; {_REMEDY}"
        )
    rgba = cv2.cvtColor(pixels, _TO_RGBA[1 if pixels.ndim == 2 else pixels.shape[2]])
    # four bytes per pixel are one little-endian integer: no arithmetic per channel
    ids = rgba.view("<u4")[..., 0]
    ids &= np.uint32(NUM_IDS - 1)
    return _turned(ids, path, content) if b"eXIf" in content else ids


def _png_size(content: bytes) -> tuple[int, int] | None:
    """(width, height) as the header of a PNG says; None: ``content`` is no PNG."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or len(content) < 24:
        return None
    return struct.unpack(">II", content[16:24])


def advice_on_unlisted(segment_id: int) -> str:
    """What to do about a segment id of a panoptic PNG that no segment has, as the end of a line."""
    of_grey = 1 + 256 + 256**2
    if segment_id % of_grey:
        return f"{_ID_CODE}: list the id, or make its pixels 0"
    grey = segment_id // of_grey
    return f"its pixels are grey, R = G = B = {grey}, but {_ID_CODE}; {_REMEDY}"


def _turned(ids: np.ndarray, path: str, content: bytes) -> np.ndarray:
    """(H, W) ids as the EXIF data of their file say, which OpenCV leaves out."""
    with opened(path, content=content) as image:
        if not turned_by_exif(image):
            return ids
        turned = Image.fromarray(ids.astype(np.int32))
        turned.getexif().update(image.getexif())
        return np.array(ImageOps.exif_transpose(turned)).astype(np.uint32)


def write_id_map(path: str, id_map: np.ndarray) -> None:
    """Write (H, W) segment ids in [0, 2**24) as a COCO panoptic PNG."""
    with PathManager.open(path, "wb") as file:
        save_id_map(file, id_map)


def save_id_map(file: IO[bytes], id_map: np.ndarray) -> None:
    """As :func:`write_id_map`, into an open file."""
    rgba = np.ascontiguousarray(id_map, dtype="<u4").view(np.uint8).reshape(*id_map.shape, 4)
    # OpenCV does it in two thirds of Pillow's time; with the lowest level of compression maps of
    # segments stay small
    bgr = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR)
    _, encoded = cv2.imencode(".png", bgr, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    file.write(encoded.data)


def read_labels(path: str | Path, label_values: LabelValues | None = None) -> np.ndarray:
    """The class ids of a label image, (H, W), writable: the one place that reads such a file.

    Args:
        label_values: what the pixel values stand for; None: they are the ids.

    Raises:
        ValueError: as :func:`read_values`, or a value is not declared.
    """
    values = read_values(path, label_values)
    return values if label_values is None else label_values.to_labels(values, path)


def read_values(path: str | Path, label_values: LabelValues | None = None) -> np.ndarray:
    """The pixel values of a label image, (H, W), writable, in the file's own integer type (8 to 32
    bits).

    Signed 16-bit files keep labels above 32767, such as ADE20K-full's 65535 = ignore, as negative
    numbers; they come back as what was meant. A negative number of 32 bits stays one, unless the
    file says that its numbers have no sign. Of a palette image the values are the indices, of grey
    of 2 or 4 bits the numbers in the file, 0 to 3 or 15; so they are of a TIFF that stores white as
    0. It is turned as its own EXIF orientation says.

    Args:
        label_values: where values are declared, a colour picture whose channels are equal is a grey
            one, the white of a picture of one bit is what is declared of 255 and 1, and of grey of
            2 or 4 bits the brightness counts, 0 to 255, where no number but 0 is a class.

    Raises:
        ValueError: the file cannot be decoded, is too large, holds colours and not ids, or bits of
            which white is 0.
    """
    try:
        with opened(path) as image:
            is_inverted = _is_inverted(image)
            if turned_by_exif(image):
                ImageOps.exif_transpose(image, in_place=True)
            mode, num_bits, has_sign = image.mode, *_bits(image)
            step = _SHADES.get(image.info[RAW_MODE][:3], 1)
            if label_values is not None and mode in _GREY_IN_COLOR:
                pixels = np.array(image.convert("RGBA"))
            else:
                pixels = np.array(image)
    except UnreadableFileError as error:
        reason, of_bands, _ = error.reason.partition(" (INPUT.READER")  # which is for pictures
        reason += "; a label map holds whole numbers of 8 to 32 bits" if of_bands else ""
        raise ValueError(f"{path}: the label map cannot be read: {reason}") from error
    if label_values is not None and mode in _GREY_IN_COLOR:
        return _grey(path, pixels, _MAX_SPREAD if label_values.nearest else 0)
    if mode not in _ID_MODES:
        remedy = "tools/prepare_own_labels.py --colors-of turns colours into ids"
        if mode == "F":
            remedy = "save the numbers of the classes as whole numbers of 8 or 16 bits"
        raise ValueError(
            f"{path}: a label map needs one channel of class ids, but this image has mode {mode!r};"
            f" {remedy}"
        )
    if is_inverted:  # by Pillow
        pixels = ~pixels
    if pixels.dtype == np.int32 and num_bits == 32 and not has_sign:
        pixels = pixels.view(np.uint32)  # Pillow knows no such mode
    if step > 1 and not (label_values and label_values.are_brightness(255 // step)):
        pixels //= np.uint8(step)
    return _ids(pixels, label_values, num_bits)


def _is_inverted(image: Image.Image) -> bool:
    """Whether a decoded picture is a TIFF whose numbers Pillow has inverted, for 0 is white there.

    Raises:
        ValueError: it has one bit for each pixel: is it the number 1 that marks something, or is it
            white? Of a fax, as masks are compressed well, it is white.
    """
    if image.format != "TIFF" or _INVERTED.fullmatch(image.info[RAW_MODE]) is None:
        return False
    if image.mode == "1" and image.info.get("compression") not in _FAX:
        raise ValueError("its bits are 0 where it is white (MinIsWhite); save it as PNG")
    return image.mode != "1"


def _bits(image: Image.Image) -> tuple[int, bool]:
    """Bits of a value in the file, where Pillow's mode does not say them, and whether one is a
    sign; 0: unknown."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return 0, True
    return int(tags.get(_BITS_PER_SAMPLE, (0,))[0]), tags.get(_SAMPLE_FORMAT, (1,))[0] == 2


def _ids(labels: np.ndarray, label_values: LabelValues | None, num_bits: int) -> np.ndarray:
    """(H, W) of an image of one channel, as :func:`read_values` promises."""
    if labels.dtype == bool:
        white = 1 if label_values is None else label_values.white()
        return labels.astype(np.uint8) * np.uint8(white)
    if labels.dtype.kind == "i" and num_bits == 16 and labels.min(initial=0) < 0:
        labels &= 0xFFFF
    return labels


def _grey(path: str | Path, channels: np.ndarray, max_spread: int) -> np.ndarray:
    """(H, W) uint8 of a picture, (H, W, 4), whose colours differ by ``max_spread`` at most."""
    colors, alpha = channels[..., :3], channels[..., 3]
    # not by a reduction over the last axis: of three elements, that is slow
    red, green, blue = (colors[..., i] for i in range(3))
    highest = np.maximum(np.maximum(red, green), blue)
    spread = highest - np.minimum(np.minimum(red, green), blue)
    colored = np.count_nonzero(spread > max_spread)
    if colored:
        raise ValueError(
            f"{path}: a label image has one channel, but {colored} pixels of this are coloured; "
            "tools/prepare_own_labels.py --colors-of turns colours into ids"
        )
    if alpha.min(initial=255) < 255:
        raise ValueError(f"{path}: a label image with transparent pixels; save it without alpha")
    return np.ascontiguousarray(green)
