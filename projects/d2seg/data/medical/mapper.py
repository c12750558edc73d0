"""The mapper of medical slices: floats of one channel, zoomed to the network's size.

As TransUNet is published (Chen et al. 2021, section 4.2 and its training code): splines of order 3
for the image, the nearest neighbour for the label.

H, W a slice's size in the file, h, w that of the sample.
"""

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from scipy import ndimage

from ..checks import check_labels
from .files import ArrayFileError, read_slice

IMAGE_ORDER, LABEL_ORDER = 3, 0
MAX_ANGLE = 20  # degrees


class SliceMapper:
    """Reads a slice and, in training, turns or flips it.

    Calling it on a dict of :func:`load_slices` or :func:`load_volumes` returns the dict with

    - ``image``: float32 (C, h, w), the channel repeated, in the file's range (0..1 by convention;
      the spline overshoots it slightly);
    - ``height``, ``width``: h and w, since a volume's evaluator zooms the labels back itself;

    in training also ``sem_seg``, int64 (h, w); else, for a file that cannot be read, a blank image
    and the reason as ``error``.

    Args:
        size: (h, w)
        num_channels: C
        num_classes: classes are 0 .. ``num_classes`` - 1
        ignore_value: label of pixels that belong to no class

    Raises:
        ValueError: in training, a file that cannot be read; a label out of range.
    """

    @configurable
    def __init__(
        self,
        is_train: bool = True,
        *,
        size: tuple[int, int],
        num_classes: int,
        ignore_value: int,
        num_channels: int = 3,
    ) -> None:
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"INPUT.SLICE_SIZE is {tuple(size)}; it is (height, width) in pixels")
        self.is_train = is_train
        self.size = tuple(size)
        self.num_channels = num_channels
        self.num_classes = num_classes
        self.ignore_value = ignore_value

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        return {
            "is_train": is_train,
            "size": tuple(cfg.INPUT.SLICE_SIZE),
            "num_channels": len(cfg.MODEL.PIXEL_MEAN),
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "ignore_value": cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        file_name = dataset_dict["file_name"]
        sample = {**dataset_dict, "height": self.size[0], "width": self.size[1]}
        try:
            image, label = read_slice(file_name, dataset_dict.get("slice_index"))
        except ArrayFileError as error:
            if self.is_train:
                raise
            blank = torch.zeros(self.num_channels, *self.size)
            return sample | {"image": blank, "error": str(error)}
        if self.is_train:
            check_labels(label, self.num_classes, self.ignore_value, file_name)
            image, label = augment(image, label)
            label = zoom(label, self.size, LABEL_ORDER)
            sample["sem_seg"] = torch.from_numpy(np.ascontiguousarray(label))
        zoomed = torch.from_numpy(np.ascontiguousarray(zoom(image, self.size, IMAGE_ORDER)))
        sample["image"] = zoomed.expand(self.num_channels, -1, -1).clone()
        return sample


def augment(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At odds of 1/2 a turn by a multiple of 90 degrees and a flip, else at even odds a turn by up
    to 20 degrees (with the nearest neighbour for the image too, as published), else nothing.

    image, label: (H, W). Draws from numpy's global generator.
    """
    if np.random.rand() < 0.5:
        quarters, axis = np.random.randint(4), np.random.randint(2)
        return tuple(np.flip(np.rot90(array, quarters), axis) for array in (image, label))
    if np.random.rand() < 0.5:
        angle = np.random.randint(-MAX_ANGLE, MAX_ANGLE)
        return tuple(
            ndimage.rotate(array, angle, order=0, reshape=False) for array in (image, label)
        )
    return image, label


def zoom(array: np.ndarray, size: tuple[int, int], order: int) -> np.ndarray:
    """(H, W) to ``size``, corner pixels on corner pixels, as scipy's and TransUNet's zoom."""
    if array.shape == size:
        return array
    factors = [new / old for new, old in zip(size, array.shape, strict=True)]
    return ndimage.zoom(array, factors, order=order)
