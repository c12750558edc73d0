"""Reading and writing of maps of segment ids (COCO panoptic PNG) and of class labels.

A COCO panoptic PNG stores one segment id per pixel: ``id = R + 256 * G + 256**2 * B``; 0 is void
(https://cocodataset.org/#format-data, "Panoptic Segmentation").
"""

from pathlib import Path

import numpy as np
from detectron2.utils.file_io import PathManager
from PIL import Image

NUM_IDS = 256**3  # what three 8-bit channels can hold
# Modes of Pillow whose pixels are ids. A palette image ("P") holds ids too; converting it to "L"
# would replace them by the brightness of their colours.
_ID_MODES = {"1", "L", "P", "I", "I;16", "I;16L", "I;16B"}


def read_id_map(path: str) -> np.ndarray:
    """Segment ids of a COCO panoptic PNG, (H, W) uint32 in [0, 2**24).

    Raises:
        ValueError: the file cannot be decoded.
    """
    try:
        with PathManager.open(path, "rb") as file, Image.open(file) as image:
            # Four bytes per pixel are one little-endian integer: no arithmetic per channel.
            rgba = np.asarray(image.convert("RGBA"))  # (H, W, 4)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"{path}: the segment ids cannot be read: {error}") from error
    return rgba.view("<u4")[..., 0] & np.uint32(NUM_IDS - 1)


def write_id_map(path: str, id_map: np.ndarray) -> None:
    """Write (H, W) segment ids in [0, 2**24) as a COCO panoptic PNG."""
    rgba = np.ascontiguousarray(id_map, dtype="<u4").view(np.uint8).reshape(*id_map.shape, 4)
    with PathManager.open(path, "wb") as file:
        # Level 1 is several times faster than the default and the files stay small.
        Image.fromarray(rgba[..., :3].copy()).save(file, format="PNG", compress_level=1)


def read_labels(path: str | Path) -> np.ndarray:
    """The ids of a label image, (H, W), writable, in the file's own integer type (8 to 32 bits).

    Signed 16-bit files keep labels above 32767, such as ADE20K-full's 65535 = ignore, as negative
    numbers; they come back as what was meant.

    Raises:
        ValueError: the file cannot be decoded, or holds colours and not ids.
    """
    try:
        with PathManager.open(str(path), "rb") as file, Image.open(file) as image:
            if image.mode not in _ID_MODES:
                raise ValueError(
                    f"{path}: a label map needs one channel of class ids, "
                    f"but this image has mode {image.mode!r}; "
                    "tools/prepare_own_labels.py turns colours into ids"
                )
            labels = np.array(image)
    except OSError as error:
        raise ValueError(f"{path}: the label map cannot be read: {error}") from error
    if labels.dtype == bool:
        return labels.astype(np.uint8)
    if labels.dtype.kind == "i" and labels.min(initial=0) < 0:
        labels &= 0xFFFF
    return labels
