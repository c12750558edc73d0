"""d2seg.data.augmentation: the colour distortion by hand, and the lists that a config makes."""

import random

import numpy as np
import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.data import transforms as T
from PIL import Image

from d2seg.config import add_d2seg_config
from d2seg.data.augmentation import SSDColorAugmentation, build_augmentations, distort_colors


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    add_d2seg_config(cfg)
    return cfg


def _pixel(*channels: int) -> np.ndarray:
    return np.full((2, 3, 3), channels, dtype=np.uint8)


def _distorted(*channels: int, **steps) -> list[int]:
    out = distort_colors(_pixel(*channels), image_format="RGB", **steps)
    assert out.dtype == np.uint8
    assert (out == out[0, 0]).all()
    return out[0, 0].tolist()


def test_no_step_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    out = distort_colors(image, image_format="RGB")
    np.testing.assert_array_equal(out, image)


def test_brightness_adds_and_clips():
    assert _distorted(10, 100, 250, brightness=20.4) == [30, 120, 255]
    assert _distorted(10, 100, 250, brightness=-20) == [0, 80, 230]


def test_contrast_multiplies_rounds_and_clips():
    assert _distorted(10, 101, 250, contrast=1.5) == [15, 152, 255]  # 151.5 to the even 152
    assert _distorted(10, 101, 250, contrast=0.5) == [5, 50, 125]


def test_contrast_sees_the_clipped_brightness():
    assert _distorted(250, 0, 0, brightness=30, contrast=0.5) == [128, 15, 15]


def test_saturation_zero_is_grey_of_the_largest_channel():
    assert _distorted(200, 100, 50, saturation=0.0) == [200, 200, 200]


def test_saturation_by_hand():
    # S = (200 - 50) / 200 = 0.75, halved 0.375: the smallest channel is 200 * (1 - 0.375) = 125
    out = _distorted(200, 100, 50, saturation=0.5)
    np.testing.assert_allclose(out, [200, 150, 125], atol=2)


@pytest.mark.parametrize(
    ("degrees", "expected"), [(120, [0, 255, 0]), (-120, [0, 0, 255]), (180, [0, 255, 255])]
)
def test_hue_turns_red(degrees: float, expected: list[int]):
    np.testing.assert_allclose(
        _distorted(255, 0, 0, hue=degrees), expected, atol=6
    )  # a step of 1.4 degrees


def test_contrast_before_or_after_saturation():
    # before: 200 * 1.5 clips to 255, S = (255 - 75) / 255; after: only the result clips
    before = _distorted(200, 100, 50, contrast=1.5, saturation=0.5)
    after = _distorted(200, 100, 50, contrast=1.5, saturation=0.5, contrast_last=True)
    np.testing.assert_allclose(before, [255, 202, 165], atol=3)
    np.testing.assert_allclose(after, [255, 225, 188], atol=3)


def test_bgr_is_rgb_reversed():
    image = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    steps = {"brightness": 9.0, "contrast": 1.2, "saturation": 0.7, "hue": 25.0}
    rgb = distort_colors(image, image_format="RGB", **steps)
    bgr = distort_colors(image[:, :, ::-1], image_format="BGR", **steps)
    np.testing.assert_array_equal(bgr[:, :, ::-1], rgb)


def test_augmentation_repeats_by_seed_and_leaves_labels():
    augmentation = SSDColorAugmentation("RGB")
    image = np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    outs = []
    for _ in range(2):
        np.random.seed(5)
        inputs = T.AugInput(image.copy(), sem_seg=labels)
        augmentation(inputs)
        assert inputs.sem_seg is labels
        outs.append(inputs.image)
    np.testing.assert_array_equal(*outs)
    assert (outs[0] != image).any()


def test_each_step_is_drawn_half_of_the_time_from_its_range():
    augmentation = SSDColorAugmentation("BGR")
    np.random.seed(0)
    draws = [augmentation.get_transform(_pixel(0, 0, 0)).op.keywords for _ in range(2000)]
    ranges = {"brightness": (-32, 32, 0), "contrast": (0.5, 1.5, 1)}
    ranges |= {"saturation": (0.5, 1.5, 1), "hue": (-36, 36, 0)}
    for step, (low, high, neutral) in ranges.items():
        values = np.array([d[step] for d in draws])
        drawn = values[values != neutral]
        assert 0.45 < len(drawn) / len(values) < 0.55, step
        assert low <= drawn.min() < low + 0.05 * (high - low), step
        assert high >= drawn.max() > high - 0.05 * (high - low), step
    assert 0.45 < np.mean([d["contrast_last"] for d in draws]) < 0.55


def test_same_distribution_as_detectron2(shared_dir):
    """Mean and spread of the result against PointRend's distortion, on a real photograph."""
    from detectron2.projects.point_rend import ColorAugSSDTransform

    path = next((shared_dir / "data/coco/train2017").glob("*.jpg"))
    image = np.asarray(Image.open(path).convert("RGB").resize((24, 24)))
    own, reference = SSDColorAugmentation("RGB"), ColorAugSSDTransform("RGB")
    np.random.seed(0)
    ours = [own.get_transform(image).apply_image(image).mean((0, 1)) for _ in range(3000)]
    random.seed(0)
    theirs = [reference.apply_image(image).mean((0, 1)) for _ in range(3000)]
    np.testing.assert_allclose(np.mean(ours, 0), np.mean(theirs, 0), rtol=0.03)
    np.testing.assert_allclose(np.std(ours, 0), np.std(theirs, 0), rtol=0.08)


def test_other_image_formats_are_refused():
    with pytest.raises(ValueError, match=r"INPUT\.FORMAT RGB or BGR, not 'L'"):
        SSDColorAugmentation("L")


# --- the lists that a config makes ---


def _types(augmentations: list) -> list[str]:
    return [type(a).__name__ for a in augmentations]


def _sizes(cfg: CfgNode, shape: tuple[int, int], repeats: int = 30) -> set[tuple[int, int]]:
    augmentation = T.AugmentationList(build_augmentations(cfg, is_train=True))
    np.random.seed(0)
    sizes = set()
    for _ in range(repeats):
        inputs = T.AugInput(np.zeros((*shape, 3), np.uint8), sem_seg=np.zeros(shape, np.uint8))
        augmentation(inputs)
        assert inputs.image.shape[:2] == inputs.sem_seg.shape
        sizes.add(inputs.sem_seg.shape)
    return sizes


def test_resize_crop(cfg):
    cfg.INPUT.MAPPER = "semantic"
    cfg.INPUT.MIN_SIZE_TRAIN = (32, 64)
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE = "absolute"
    cfg.INPUT.CROP.SIZE = (40, 48)
    cfg.INPUT.COLOR_AUG_SSD = True
    expected = ["ResizeShortestEdge", "RandomCrop", "SSDColorAugmentation", "RandomFlip"]
    assert _types(build_augmentations(cfg, True)) == expected
    assert _sizes(cfg, (50, 100)) == {(32, 48), (40, 48)}
    cfg.INPUT.PAD_SIZE = (40, 48)
    assert _types(build_augmentations(cfg, True)) == [*expected, "FixedSizeCrop"]
    assert _sizes(cfg, (50, 100)) == {(40, 48)}


def test_crop_with_single_category_area(cfg):
    cfg.INPUT.MAPPER = "semantic"
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 0.75
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 254
    crop = build_augmentations(cfg, True)[1]
    assert isinstance(crop, T.RandomCrop_CategoryAreaConstraint)
    assert crop.single_category_max_area == 0.75
    assert crop.ignored_category == 254


def test_single_category_area_needs_a_label_map(cfg):
    cfg.INPUT.MAPPER = "instance"
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 0.75
    with pytest.raises(ValueError, match=r"SINGLE_CATEGORY_MAX_AREA is 0\.75.*set it to 1\.0"):
        build_augmentations(cfg, True)


def test_lsj(cfg):
    cfg.INPUT.AUGMENTATION = "lsj"
    cfg.INPUT.LSJ.IMAGE_SIZE = 64
    assert _types(build_augmentations(cfg, True)) == [
        "ResizeScale",
        "FixedSizeCrop",
        "RandomFlip",
        "FixedSizeCrop",
    ]
    assert _sizes(cfg, (48, 60)) == {(64, 64)}
    cfg.INPUT.PAD_SIZE = (64, 96)
    assert _sizes(cfg, (48, 60)) == {(64, 96)}


def test_lsj_pads_right_and_bottom_even_when_flipped(cfg):
    cfg.INPUT.AUGMENTATION = "lsj"
    cfg.INPUT.LSJ.IMAGE_SIZE = 64
    cfg.INPUT.LSJ.MIN_SCALE = cfg.INPUT.LSJ.MAX_SCALE = 0.5
    augmentation = T.AugmentationList(build_augmentations(cfg, True))
    np.random.seed(0)
    for _ in range(8):
        inputs = T.AugInput(np.full((40, 80, 3), 7, np.uint8), sem_seg=np.zeros((40, 80), np.uint8))
        augmentation(inputs)
        expected = np.full((64, 64), 128, np.uint8)
        expected[:16, :32] = 7
        np.testing.assert_array_equal(inputs.image, np.repeat(expected[..., None], 3, 2))
        np.testing.assert_array_equal(inputs.sem_seg == 255, expected == 128)


def test_detr_crops_half_of_the_time(cfg):
    cfg.INPUT.AUGMENTATION = "detr"
    cfg.INPUT.MIN_SIZE_TRAIN = (48,)
    cfg.INPUT.MAX_SIZE_TRAIN = 80
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE = "absolute_range"
    cfg.INPUT.CROP.SIZE = (384, 600)
    apply, resize, flip = build_augmentations(cfg, True)
    assert apply.prob == 0.5
    assert resize.short_edge_length == (48,)
    assert isinstance(flip, T.RandomFlip)
    shapes = set()
    np.random.seed(0)
    for _ in range(20):
        inputs = T.AugInput(np.zeros((20, 30, 3), np.uint8))
        first = apply.aug(inputs).transforms[0]
        assert min(first.new_h, first.new_w) in (400, 500, 600)
        assert all(384 <= side <= 600 for side in inputs.image.shape[:2])
        shapes.add(inputs.image.shape)
    assert len(shapes) > 10  # height and width are drawn each
    cfg.INPUT.CROP.ENABLED = False
    assert _types(build_augmentations(cfg, True)) == ["ResizeShortestEdge", "RandomFlip"]


@pytest.mark.parametrize("flip", ["horizontal", "vertical", "none"])
def test_flip_as_configured(cfg, flip: str):
    cfg.INPUT.RANDOM_FLIP = flip
    flips = [a for a in build_augmentations(cfg, True) if isinstance(a, T.RandomFlip)]
    assert [(f.horizontal, f.vertical) for f in flips] == (
        [] if flip == "none" else [(flip == "horizontal", flip == "vertical")]
    )


def test_only_resizing_at_test_time(cfg):
    cfg.INPUT.AUGMENTATION = "lsj"
    cfg.INPUT.COLOR_AUG_SSD = True
    cfg.INPUT.PAD_SIZE = (512, 512)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 100, 150
    (resize,) = build_augmentations(cfg, is_train=False)
    assert resize.get_transform(np.zeros((50, 60, 3), np.uint8)).new_w == 120
    assert resize.get_transform(np.zeros((50, 100, 3), np.uint8)).new_w == 150


def test_unknown_augmentation(cfg):
    cfg.INPUT.AUGMENTATION = "mosaic"
    with pytest.raises(ValueError, match="'mosaic'; it must be one of resize_crop, lsj, detr"):
        build_augmentations(cfg, True)


@pytest.mark.parametrize("is_train", [True, False])
def test_a_fixed_size_leaves_the_aspect(cfg, is_train):
    cfg.INPUT.AUGMENTATION, cfg.INPUT.FIXED_SIZE = "fixed_size", (16, 24)
    augmented = T.AugInput(np.zeros((50, 30, 3), np.uint8), sem_seg=np.zeros((50, 30), np.uint8))
    T.AugmentationList(build_augmentations(cfg, is_train))(augmented)
    assert augmented.image.shape == (16, 24, 3)
    assert augmented.sem_seg.shape == (16, 24)


@pytest.mark.parametrize("size", [(16,), (0, 16), (1.5, 16)])
def test_a_fixed_size_that_is_none(cfg, size):
    cfg.INPUT.AUGMENTATION, cfg.INPUT.FIXED_SIZE = "fixed_size", size
    with pytest.raises(ValueError, match=r"INPUT\.FIXED_SIZE is .*; it is \(height, width\)"):
        build_augmentations(cfg, True)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (75, 100)), ((30, 10), (80, 27)), ((1, 4000), (1, 100)), ((3, 3), (80, 80))],
)
def test_fits_into_the_size_of_an_exported_file(
    cfg: CfgNode, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    cfg.INPUT.FIT_SIZE_TEST = (80, 100)
    [resize] = build_augmentations(cfg, is_train=False)
    image = np.zeros((*size, 3), np.uint8)
    assert resize.get_transform(image).apply_image(image).shape == (*expected, 3)
    assert "ResizeToFit" not in _types(build_augmentations(cfg, is_train=True))
