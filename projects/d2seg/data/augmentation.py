"""Training augmentations that a config names, made of detectron2's own wherever it has them.

All of them draw from numpy's global generator, as detectron2's do.
"""

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T
from PIL import Image

_HSV_CODES = {
    "RGB": (cv2.COLOR_RGB2HSV_FULL, cv2.COLOR_HSV2RGB_FULL),
    "BGR": (cv2.COLOR_BGR2HSV_FULL, cv2.COLOR_HSV2BGR_FULL),
}
_PAD_VALUE = 128  # of an image's padding, near the mean of natural images


class SSDColorAugmentation(T.Augmentation):
    """Random brightness, contrast, saturation and hue, each applied at even odds.

    The photometric distortion of SSD (Liu et al. 2016, section 2.2, after Howard 2013): brightness
    first; contrast either before or after saturation and hue, at even odds. It takes and returns a
    uint8 (H, W, 3) image in ``image_format``; every step rounds and clips to 0..255. Hue is kept in
    256 steps of a turn.

    Args:
        image_format: "RGB" or "BGR"
        max_brightness: largest number added to or taken off all channels
        contrast: range of the factor that multiplies all channels
        saturation: range of the factor that multiplies the saturation
        max_hue: largest rotation of the hue, in degrees either way (18 of OpenCV's 180 steps)

    Raises:
        ValueError: for another image format.
    """

    def __init__(
        self,
        image_format: str,
        max_brightness: float = 32.0,
        contrast: tuple[float, float] = (0.5, 1.5),
        saturation: tuple[float, float] = (0.5, 1.5),
        max_hue: float = 36.0,
    ) -> None:
        if image_format not in _HSV_CODES:
            raise ValueError(
                f"INPUT.COLOR_AUG_SSD needs INPUT.FORMAT RGB or BGR, not {image_format!r}"
            )
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> T.Transform:
        brightness, contrast, saturation, hue, contrast_last = np.random.rand(5) < 0.5
        distort = partial(
            distort_colors,
            image_format=self.image_format,
            brightness=brightness * self._rand_range(-self.max_brightness, self.max_brightness),
            contrast=self._rand_range(*self.contrast) if contrast else 1.0,
            saturation=self._rand_range(*self.saturation) if saturation else 1.0,
            hue=hue * self._rand_range(-self.max_hue, self.max_hue),
            contrast_last=bool(contrast_last),
        )
        return T.ColorTransform(distort)


def distort_colors(
    image: np.ndarray,
    *,
    image_format: str,
    brightness: float = 0.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue: float = 0.0,
    contrast_last: bool = False,
) -> np.ndarray:
    """Apply the steps that :class:`SSDColorAugmentation` draws, as tables of 256 entries.

    Args:
        image: uint8 (H, W, 3) in ``image_format``
        brightness: added to every channel
        contrast: multiplies every channel
        saturation: multiplies the saturation of HSV
        hue: degrees by which the hue of HSV turns
        contrast_last: multiply by ``contrast`` after the steps in HSV instead of before
    """
    levels = np.arange(256)
    table = _to_uint8(levels + brightness)
    if not contrast_last:
        table = _to_uint8(table * contrast)
    if not np.array_equal(table, levels):
        image = cv2.LUT(np.ascontiguousarray(image), table)
    if saturation != 1.0 or hue != 0.0:
        to_hsv, from_hsv = _HSV_CODES[image_format]
        tables = np.empty((1, 256, 3), np.uint8)
        tables[0, :, 0] = (levels + round(hue * 256 / 360)) % 256
        tables[0, :, 1] = _to_uint8(levels * saturation)
        tables[0, :, 2] = levels
        image = cv2.cvtColor(cv2.LUT(cv2.cvtColor(image, to_hsv), tables), from_hsv)
    if contrast_last and contrast != 1.0:
        image = cv2.LUT(image, _to_uint8(levels * contrast))
    return image


def _to_uint8(levels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


class ResizeTransform(T.ResizeTransform):
    """detectron2's, for pictures of any number of bands and of floats, too.

    detectron2 gives bytes to Pillow, which knows one and three bands, takes the second or fourth
    for opacity, and no others; floats it samples without smoothing. Here each band of such a
    picture is resized by itself, as Pillow resizes grey. Label maps are detectron2's.
    """

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        method = self.interp if interp is None else interp
        num_bands = img.shape[2] if img.ndim == 3 else 0
        is_plain = img.dtype == np.uint8 and num_bands in (0, 1, 3)
        if is_plain or not num_bands or method == Image.NEAREST:
            return super().apply_image(img, interp)
        resized = np.empty((self.new_h, self.new_w, num_bands), img.dtype)
        for band in range(num_bands):
            picture = Image.fromarray(np.ascontiguousarray(img[:, :, band]))
            resized[:, :, band] = np.asarray(picture.resize((self.new_w, self.new_h), method))
        return resized

    @classmethod
    def like(cls, transform: T.Transform) -> T.Transform:
        """``transform`` as one of this class, with at least one pixel on each side; what is no
        resizing as it is."""
        if not isinstance(transform, T.ResizeTransform):
            return transform
        new_h, new_w = max(transform.new_h, 1), max(transform.new_w, 1)
        return cls(transform.h, transform.w, new_h, new_w, transform.interp)


class ResizeShortestEdge(T.ResizeShortestEdge):
    """detectron2's, with at least one pixel on each side: it makes a picture of 1x4000 pixels no
    pixel high where its longest edge is limited."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        return ResizeTransform.like(super().get_transform(image))


class ResizeScale(T.ResizeScale):
    """detectron2's, for any number of bands."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        return ResizeTransform.like(super().get_transform(image))


class Resize(T.Resize):
    """detectron2's, for any number of bands."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        return ResizeTransform.like(super().get_transform(image))


class FixedSizeCrop(T.FixedSizeCrop):
    """detectron2's, without a padding of no pixels, which copies picture and labels."""

    def get_transform(self, image: np.ndarray) -> T.TransformList:
        crop, *padding = super().get_transform(image).transforms
        return T.TransformList([crop, *(pad for pad in padding if pad.x1 or pad.y1)])


class ResizeToFit(T.Augmentation):
    """As large as fits into a size, the aspect kept, for a model that takes this size alone."""

    def __init__(self, size: Sequence[int]) -> None:
        """``size``: (height, width)."""
        super().__init__()
        self.size = tuple(size)

    def get_transform(self, image: np.ndarray) -> T.Transform:
        height, width = image.shape[:2]
        scale = min(self.size[0] / height, self.size[1] / width)
        sides = (
            min(max(round(side * scale), 1), bound)
            for side, bound in zip((height, width), self.size, strict=True)
        )
        return ResizeTransform(height, width, *sides)


def reading_config(cfg: CfgNode) -> CfgNode:
    """The config by which pictures are read at test time: with TEST.AUG.ENABLED they keep their own
    size, for each view is resized from that."""
    if not cfg.TEST.AUG.ENABLED:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.MIN_SIZE_TEST = 0
    cfg.freeze()
    return cfg


def build_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Return what ``INPUT`` asks for, in order; right and bottom padding, if any, comes last.

    In training: the geometry of ``INPUT.AUGMENTATION``, then colour, flip and padding. At test time
    only the resizing to ``MIN_SIZE_TEST`` and ``MAX_SIZE_TEST``, to ``FIXED_SIZE``, or into
    ``FIT_SIZE_TEST``.

    Raises:
        ValueError: for an unknown ``INPUT.AUGMENTATION``, or a ``FIXED_SIZE`` that is none.
    """
    resize, *flip = utils.build_augmentation(cfg, is_train)
    resize = ResizeShortestEdge(
        resize.short_edge_length, resize.max_size, resize.sample_style, resize.interp
    )
    name, pad_size = cfg.INPUT.AUGMENTATION, cfg.INPUT.PAD_SIZE
    if name == "fixed_size":
        resize = _fixed_resize(cfg)
    if not is_train:
        fit = tuple(cfg.INPUT.FIT_SIZE_TEST)
        return [ResizeToFit(fit) if fit and name != "fixed_size" else resize]
    if name in ("resize_crop", "fixed_size"):
        augmentations = [resize, *_crop(cfg)]
    elif name == "detr":
        augmentations = [*_detr_crop(cfg), resize]
    elif name == "lsj":
        lsj = cfg.INPUT.LSJ
        size = (lsj.IMAGE_SIZE, lsj.IMAGE_SIZE)
        augmentations = [
            ResizeScale(lsj.MIN_SCALE, lsj.MAX_SCALE, *size),
            FixedSizeCrop(size, pad=False),
        ]
        pad_size = pad_size or size
    else:
        raise ValueError(
            f"INPUT.AUGMENTATION is {name!r}; it must be one of resize_crop, lsj, detr, fixed_size"
        )
    if cfg.INPUT.COLOR_AUG_SSD:
        augmentations.append(SSDColorAugmentation(cfg.INPUT.FORMAT))
    augmentations.extend(flip)
    if pad_size:
        augmentations.append(FixedSizeCrop(tuple(pad_size), pad_value=_pad_value(cfg)))
    return augmentations


def _pad_value(cfg: CfgNode) -> float:
    """Of an image's padding: bands that are no colours have other means than these."""
    if cfg.INPUT.READER == "picture":
        return _PAD_VALUE
    return float(np.mean(cfg.MODEL.PIXEL_MEAN))


def _fixed_resize(cfg: CfgNode) -> T.Augmentation:
    size = tuple(cfg.INPUT.FIXED_SIZE)
    if len(size) != 2 or not all(isinstance(edge, int) and edge > 0 for edge in size):
        raise ValueError(f"INPUT.FIXED_SIZE is {size}; it is (height, width) in pixels")
    return Resize(size)


def _crop(cfg: CfgNode) -> list[T.Augmentation]:
    crop = cfg.INPUT.CROP
    if not crop.ENABLED:
        return []
    if crop.SINGLE_CATEGORY_MAX_AREA >= 1.0:
        return [T.RandomCrop(crop.TYPE, crop.SIZE)]
    if cfg.INPUT.MAPPER == "instance":
        raise ValueError(
            f"INPUT.CROP.SINGLE_CATEGORY_MAX_AREA is {crop.SINGLE_CATEGORY_MAX_AREA}, but "
            "INPUT.MAPPER instance has no label map to measure categories on; set it to 1.0"
        )
    return [
        T.RandomCrop_CategoryAreaConstraint(
            crop.TYPE,
            crop.SIZE,
            crop.SINGLE_CATEGORY_MAX_AREA,
            cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
        )
    ]


def _detr_crop(cfg: CfgNode) -> list[T.Augmentation]:
    """The crop of DETR (Carion et al. 2020, section 4): at even odds, on a resized image."""
    crop = cfg.INPUT.CROP
    if not crop.ENABLED:
        return []
    resize = ResizeShortestEdge([400, 500, 600], sample_style="choice")
    return [T.RandomApply(T.AugmentationList([resize, T.RandomCrop(crop.TYPE, crop.SIZE)]))]
