"""Resizing and cropping at once against one after the other, with the same random numbers."""

import numpy as np
import pytest
from detectron2.data import transforms as T

from d2seg.data.augmentation import FixedSizeCrop, ResizeScale, ResizeShortestEdge
from d2seg.data.masks import CodedImage
from d2seg.data.resized_crop import ResizedCrop, join_crops

RESIZINGS = {
    "edge": ResizeShortestEdge([40, 57, 130, 301], max_size=640, sample_style="choice"),
    "lsj": ResizeScale(0.1, 2.0, 160, 160),
}
CROPS = {
    "absolute": T.RandomCrop("absolute", (64, 96)),
    "relative": T.RandomCrop("relative_range", (0.3, 0.5)),
    "constrained": T.RandomCrop_CategoryAreaConstraint("absolute", (64, 48), 0.5, 255),
    "fixed": FixedSizeCrop((160, 160), pad=False),
}


def picture(seed: int, dtype: type = np.uint8, bands: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Noise (H, W, bands) and labels in blocks (H, W), some of them 255."""
    random = np.random.default_rng(seed)
    height, width = random.integers(30, 300, 2)
    image = random.integers(0, 256, (height, width, bands)).astype(dtype)
    labels = random.integers(0, 5, (height // 16 + 1, width // 16 + 1)).astype(np.uint8)
    labels[labels == 4] = 255
    return image, np.kron(labels, np.ones((16, 16), np.uint8))[:height, :width]


def both(resizing: str, crop: str, seed: int, **kind) -> tuple[CodedImage, CodedImage]:
    """One after the other, and at once; the transforms move points alike."""
    steps = [RESIZINGS[resizing], CROPS[crop]]
    image, labels = picture(seed, **kind)
    made = []
    for augmentations in (steps, join_crops(steps)):
        inputs = CodedImage(image, labels, np.arange(256))
        np.random.seed(seed)
        transforms = T.AugmentationList(augmentations)(inputs)
        points = transforms.apply_coords(np.array([[3.0, 5.0], [20.0, 11.0]]))
        made.append((inputs, points.tolist(), np.random.rand()))
    assert len(augmentations) == 1
    assert isinstance(augmentations[0], ResizedCrop)
    assert made[0][1:] == made[1][1:]
    return made[0][0], made[1][0]


@pytest.mark.parametrize("resizing", RESIZINGS)
@pytest.mark.parametrize("crop", CROPS)
def test_equal_to_one_after_the_other(resizing: str, crop: str) -> None:
    num_parts = 0
    for seed in range(25):
        expected, found = both(resizing, crop, seed)
        np.testing.assert_array_equal(found.codes, expected.codes)
        assert found.image.shape == expected.image.shape
        assert found.image.dtype == np.uint8
        difference = np.abs(found.image.astype(int) - expected.image)
        assert difference.max() <= 1
        num_parts += bool(difference.any())
    assert num_parts < 25  # where the crop shows all, it is the same


@pytest.mark.parametrize(("dtype", "bands"), [(np.float32, 5), (np.uint8, 1), (np.uint8, 4)])
def test_any_number_of_bands(dtype: type, bands: int) -> None:
    for seed in range(8):
        expected, found = both("edge", "absolute", seed, dtype=dtype, bands=bands)
        assert found.image.shape == expected.image.shape
        step = 1 if dtype == np.uint8 else 0.1
        difference = np.abs(found.image.astype(np.float64) - expected.image)
        assert difference.max() <= step


def test_what_stands_apart_stays_apart() -> None:
    flip, resize, crop = T.RandomFlip(), RESIZINGS["edge"], CROPS["absolute"]
    padded = FixedSizeCrop((32, 32))
    for separate in ([resize, flip, crop], [crop, resize], [resize, padded], [resize]):
        assert join_crops(separate) == separate


def test_no_resizing_is_none() -> None:
    image, labels = picture(0)
    inputs = CodedImage(image, labels, np.arange(256))
    np.random.seed(0)
    size = image.shape[:2]
    transforms = ResizedCrop(T.Resize(size), CROPS["absolute"])(inputs)
    crop = transforms.transforms[-1]
    rows, columns = slice(crop.y0, crop.y0 + crop.h), slice(crop.x0, crop.x0 + crop.w)
    np.testing.assert_array_equal(inputs.image, image[rows, columns])


def test_a_padding_of_nothing_is_left_out() -> None:
    image = np.zeros((32, 40, 3), np.uint8)
    for side, number in ((32, 1), (33, 2)):
        transform = FixedSizeCrop((side, 40)).get_transform(image)
        assert len(transform.transforms) == number
