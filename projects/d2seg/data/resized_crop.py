"""Resizing and cropping in one step: of the resized picture, only what the crop shows is made.

A picture that is enlarged to twice its sides before a crop is cut out of it costs many times the
crop. Pillow resizes a part of a picture as it resizes the whole, but takes the part's edges as
32-bit floats. A part somewhat larger than the crop is made whose edges lose least by that; values
nearly half-way between two of 255 may still become the other one. Labels are equal.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data import transforms as T
from PIL import Image

from .augmentation import ResizeTransform

_CROPS = (T.RandomCrop, T.RandomCrop_CategoryAreaConstraint)
Window = tuple[slice, slice]
_SLACK = 40  # pixels by which a part may be larger than the crop, on each side


def join_crops(augmentations: Sequence[T.Augmentation]) -> list[T.Augmentation]:
    """Make one augmentation of each resizing that a crop follows."""
    joined: list[T.Augmentation] = []
    for augmentation in augmentations:
        if joined and _is_resizing(joined[-1]) and _is_crop(augmentation):
            joined[-1] = ResizedCrop(joined[-1], augmentation)
        else:
            joined.append(augmentation)
    return joined


def _is_resizing(augmentation: T.Augmentation) -> bool:
    return isinstance(augmentation, (T.ResizeShortestEdge, T.ResizeScale, T.Resize))


def _is_crop(augmentation: T.Augmentation) -> bool:
    is_fixed = isinstance(augmentation, T.FixedSizeCrop) and not augmentation.pad
    return isinstance(augmentation, _CROPS) or is_fixed


class ResizedCrop(T.Augmentation):
    """``crop`` of what ``resize`` makes; both draw as they do one after the other."""

    def __init__(self, resize: T.Augmentation, crop: T.Augmentation) -> None:
        super().__init__()
        self.resize = resize
        self.crop = crop

    def __call__(self, aug_input: Any) -> T.Transform:
        """As of detectron2's augmentations; the result lists both transforms."""
        resize = self.resize.get_transform(aug_input.image)
        if not isinstance(resize, T.ResizeTransform):
            aug_input.transform(resize)
            return T.TransformList([resize, self.crop(aug_input)])
        resize = ResizeTransform.like(resize)
        # a picture without memory: crops look at its size alone
        size = (resize.new_h, resize.new_w, 1)
        arguments = [np.broadcast_to(np.uint8(0), size)]
        if isinstance(self.crop, T.RandomCrop_CategoryAreaConstraint):
            arguments.append(_ResizedLabels(aug_input, resize))
        crop = self.crop.get_transform(*arguments)
        if isinstance(crop, T.TransformList):
            (crop,) = crop.transforms
        aug_input.transform(_CroppedResizeTransform(resize, crop))
        return T.TransformList([resize, crop])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.resize}, {self.crop})"


class _CroppedResizeTransform(T.Transform):
    """Of pictures and label maps; for coordinates there are the two that it is made of."""

    def __init__(self, resize: ResizeTransform, crop: T.CropTransform) -> None:
        super().__init__()
        self._resize = resize
        # a crop may be larger than what it is of
        bottom, right = min(crop.y0 + crop.h, resize.new_h), min(crop.x0 + crop.w, resize.new_w)
        self._window = slice(crop.y0, bottom), slice(crop.x0, right)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """(H, W) or (H, W, C), uint8 or float32."""
        if self._shows_all():
            return self._resize.apply_image(img)
        if img.ndim == 2:
            return self._cut(img)
        if img.shape[2] == 3 and img.dtype == np.uint8:
            return self._cut(img)
        return np.stack([self._cut(img[:, :, band]) for band in range(img.shape[2])], axis=2)

    def _cut(self, img: np.ndarray) -> np.ndarray:
        resize, (rows, columns) = self._resize, self._window
        height, (top, bottom) = _part(rows, resize.h, resize.new_h)
        width, (left, right) = _part(columns, resize.w, resize.new_w)
        size = width.stop - width.start, height.stop - height.start
        picture = Image.fromarray(np.ascontiguousarray(img))
        made = np.asarray(picture.resize(size, resize.interp, box=(left, top, right, bottom)))
        return made[
            rows.start - height.start : rows.stop - height.start,
            columns.start - width.start : columns.stop - width.start,
        ]

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """(H, W) or (H, W, C) uint8, as detectron2 resizes these."""
        if self._shows_all():
            return self._resize.apply_segmentation(segmentation)
        return _nearest(segmentation, self._resize, self._window)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        raise NotImplementedError("coordinates go through the resizing and the crop")

    def _shows_all(self) -> bool:
        ends = [(part.start, part.stop) for part in self._window]
        return ends == [(0, self._resize.new_h), (0, self._resize.new_w)]


def _part(window: slice, old: int, new: int) -> tuple[slice, tuple[float, float]]:
    """Places in a line that is resized from ``old`` to ``new``, with all of ``window`` in them, and
    their edges in the old line: where 32-bit floats are nearest to these, and to the scale."""
    scale = old / new
    starts = np.arange(max(window.start - _SLACK, 0), window.start + 1)[:, None]
    stops = np.arange(window.stop, min(window.stop + _SLACK, new) + 1)
    firsts, lasts = (starts * scale).astype(np.float32), (stops * scale).astype(np.float32)
    lengths = stops - starts
    drift = np.abs((lasts - firsts).astype(np.float64) - lengths * scale)
    error = np.abs(firsts - starts * scale) + drift
    start, stop = np.unravel_index(error.argmin(), error.shape)
    edges = float(firsts[start, 0]), min(float(lasts[stop]), float(old))
    return slice(int(starts[start, 0]), int(stops[stop])), edges


def _nearest(values: np.ndarray, resize: T.ResizeTransform, window: Window) -> np.ndarray:
    """A window of a label map that is resized by taking the nearest values."""
    rows = _nearest_places(resize.h, resize.new_h)[window[0]]
    columns = _nearest_places(resize.w, resize.new_w)[window[1]]
    return values[rows][:, columns]


def _nearest_places(old: int, new: int) -> np.ndarray:
    """Those that Pillow takes: it adds up the distances of pixels, and rounds on the way."""
    places = Image.fromarray(np.arange(old, dtype=np.int32)[None])
    return np.asarray(places.resize((new, 1), Image.NEAREST))[0]


class _ResizedLabels:
    """What a crop asks of the classes of a resized picture: its size, and those of a window."""

    def __init__(self, aug_input: Any, resize: T.ResizeTransform) -> None:
        self._labels = aug_input.sem_seg
        self._resize = resize
        self.shape = (resize.new_h, resize.new_w)

    def __getitem__(self, window: Window) -> np.ndarray:
        return _nearest(self._labels, self._resize, window)
