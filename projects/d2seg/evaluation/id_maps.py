"""Reading, writing and looking up maps of segment ids (COCO panoptic PNG) and of class labels.

A COCO panoptic PNG stores one segment id per pixel: ``id = R + 256 * G + 256**2 * B``; 0 is void
(https://cocodataset.org/#format-data, "Panoptic Segmentation").
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from detectron2.utils.file_io import PathManager
from PIL import Image

NUM_IDS = 256**3  # what three 8-bit channels can hold
_MAX_VALUE = np.iinfo(np.uint16).max


def read_id_map(path: str) -> np.ndarray:
    """Segment ids of a COCO panoptic PNG, (H, W) uint32 in [0, 2**24)."""
    with PathManager.open(path, "rb") as file, Image.open(file) as image:
        # Four bytes per pixel are one little-endian integer: no arithmetic per channel.
        rgba = np.asarray(image.convert("RGBA"))  # (H, W, 4)
    return rgba.view("<u4")[..., 0] & np.uint32(NUM_IDS - 1)


def write_id_map(path: str, id_map: np.ndarray) -> None:
    """Write (H, W) segment ids in [0, 2**24) as a COCO panoptic PNG."""
    rgba = np.ascontiguousarray(id_map, dtype="<u4").view(np.uint8).reshape(*id_map.shape, 4)
    with PathManager.open(path, "wb") as file:
        # Level 1 is several times faster than the default and the files stay small.
        Image.fromarray(rgba[..., :3].copy()).save(file, format="PNG", compress_level=1)


def read_label_map(path: str, dtype: Any = int) -> np.ndarray:
    """Class labels of a single-channel image (PNG, 16-bit TIFF, ...) as a writable (H, W) array.

    Signed 16-bit files keep labels above 32767, such as ADE20K-full's 65535 = ignore, as negative
    numbers; they come back as what was meant. The signature is what detectron2's
    ``SemSegEvaluator(sem_seg_loading_fn=...)`` calls; its own default fails on numpy 2.

    Raises:
        ValueError: the image has several channels.
    """
    with PathManager.open(path, "rb") as file, Image.open(file) as image:
        # Not a narrow dtype: 65535 would not fit an int16, nor a negative number a uint16.
        labels = np.array(image, dtype=np.int64)
    if labels.ndim != 2:
        raise ValueError(
            f"{path}: a label map has one channel, this image has {labels.shape[-1]}; "
            "store the class of each pixel, not its colour"
        )
    if labels.min(initial=0) < 0:
        labels &= 0xFFFF
    return labels.astype(dtype, copy=False)


class IdLookup:
    """Replaces segment ids by small values with one gather from a table of all possible ids.

    Sorting the pixels (``np.unique``) costs many times more. The table (32 MB) lives as long as
    the object, because touching fresh memory for every image costs more than the gather.
    """

    def __init__(self) -> None:
        self._table = np.zeros(NUM_IDS, dtype=np.uint16)

    def __call__(self, id_map: np.ndarray, values: Mapping[int, int]) -> np.ndarray:
        """Value of every pixel's id.

        Args:
            id_map: (H, W) integers in [0, 2**24).
            values: id -> value in [1, 65535].

        Returns:
            (H, W) uint16; 0 where the id has no value.

        Raises:
            ValueError: an id outside [0, 2**24), or more than 65535 ids.
        """
        if len(values) > _MAX_VALUE:
            raise ValueError(f"{len(values)} segments in one map; at most {_MAX_VALUE} are handled")
        ids = np.fromiter(values.keys(), dtype=np.int64, count=len(values))
        if ids.size and not (ids.min() >= 0 and ids.max() < NUM_IDS):
            raise ValueError(
                f"segment ids lie in [{ids.min()}, {ids.max()}], allowed is [0, {NUM_IDS})"
            )
        if id_map.size and not (id_map.min() >= 0 and id_map.max() < NUM_IDS):
            raise ValueError(
                f"the map holds ids in [{id_map.min()}, {id_map.max()}], allowed is [0, {NUM_IDS})"
            )
        self._table[ids] = np.fromiter(values.values(), dtype=np.uint16, count=len(values))
        found = self._table[id_map]
        self._table[ids] = 0
        return found
