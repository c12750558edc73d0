"""d2seg.data.masks: codes under random transforms, drawing by COCO's rules, tight boxes."""

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import BitMasks
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2seg.data.masks import (
    CodedImage,
    draw_annotation,
    draw_polygons,
    segment_codes,
    to_instances,
)

H, W = 24, 36


@st.composite
def geometries(draw, resize: bool = True) -> T.TransformList:
    """Flips, crops, nearest resizing and, at the end, padding, for an H x W image."""
    h, w, transforms = H, W, []
    kinds = ["hflip", "vflip", "crop"] + ["resize"] * resize
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=4)):
        if kind == "hflip":
            transforms.append(T.HFlipTransform(w))
        elif kind == "vflip":
            transforms.append(T.VFlipTransform(h))
        elif kind == "crop":
            new_h, new_w = draw(st.integers(1, h)), draw(st.integers(1, w))
            y0, x0 = draw(st.integers(0, h - new_h)), draw(st.integers(0, w - new_w))
            transforms.append(T.CropTransform(x0, y0, new_w, new_h))
            h, w = new_h, new_w
        else:
            new_h, new_w = draw(st.integers(1, 50)), draw(st.integers(1, 50))
            transforms.append(T.ResizeTransform(h, w, new_h, new_w, Image.NEAREST))
            h, w = new_h, new_w
    right, bottom = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    transforms.append(T.PadTransform(0, 0, right, bottom, w, h, 128, 255))
    return T.TransformList(transforms)


def _content(size: tuple[int, int], transforms: T.TransformList) -> tuple[int, int]:
    return size[0] - transforms[-1].y1, size[1] - transforms[-1].x1


# --- codes ---


@settings(max_examples=60)
@given(geometries(), st.sampled_from([np.uint8, np.uint16]), st.integers(0, 9))
def test_image_and_codes_move_together(transforms, dtype, seed):
    """The image shows the codes themselves, so that they must agree in every pixel."""
    high = np.iinfo(dtype).max  # its largest number stays free for padding
    codes = np.random.default_rng(seed).integers(0, high, (H, W), dtype=dtype)
    wide = codes.astype(int)  # numpy 2 keeps uint8, where 256 does not fit
    image = np.stack([wide % 256, wide // 256, wide % 7], axis=-1).astype(np.uint8)
    coded = CodedImage(image, codes, np.arange(high + 1))
    for transform in transforms.transforms:
        coded.transform(transform)
    h, w = _content(coded.codes.shape, transforms)
    shown = coded.image.astype(int)
    assert coded.codes.dtype == dtype
    np.testing.assert_array_equal(
        (shown[..., 0] + 256 * shown[..., 1])[:h, :w], coded.codes[:h, :w]
    )
    assert (coded.codes[h:] == high).all()
    assert (coded.codes[:, w:] == high).all()


def test_instances_of_codes_by_hand():
    codes = np.array([[0, 1, 1], [2, 3, 255]], dtype=np.uint8)
    classes = np.full(256, 99)
    classes[[0, 1, 3]] = 7, 8, 7  # code 2 is ignored
    coded = CodedImage(np.zeros((2, 3, 3), np.uint8), codes, classes)
    instances = coded.instances(ignore_value=99)
    assert instances.gt_classes.tolist() == [7, 8, 7]
    assert instances.gt_masks.tensor.int().tolist() == [
        [[1, 0, 0], [0, 0, 0]],
        [[0, 1, 1], [0, 0, 0]],
        [[0, 0, 0], [0, 1, 0]],
    ]
    assert instances.gt_boxes.tensor.tolist() == [[0, 0, 1, 1], [1, 0, 3, 1], [1, 1, 2, 2]]
    assert coded.sem_seg.tolist() == [[7, 8, 8], [99, 7, 99]]


def test_segment_codes_by_hand():
    ids = np.array([[0, 70000, 3], [3, 0, (1 << 24) - 1]], dtype=np.int32)
    codes = segment_codes(ids, [3, (1 << 24) - 1, 70000, 12], np.uint8, "a.png")
    assert codes.tolist() == [[0, 3, 1], [1, 0, 2]]
    assert segment_codes(np.zeros((2, 2), np.int32), [], np.uint16, "a.png").dtype == np.uint16
    assert segment_codes(np.zeros((0, 2), np.int32), [5], np.uint8, "a.png").shape == (0, 2)


def test_segment_codes_of_a_random_map():
    rng = np.random.default_rng(0)
    segment_ids = rng.choice(np.arange(1, 1 << 24), 300, replace=False).tolist()
    expected = np.kron(rng.integers(0, 301, (13, 17)), np.ones((2, 3), int))
    ids = np.array([0, *segment_ids], np.int32)[expected]
    for view in (slice(None), slice(None, None, -1)):  # the second is not contiguous
        codes = segment_codes(ids[view], segment_ids, np.uint16, "a.png")
        np.testing.assert_array_equal(codes, expected[view])


def test_unlisted_segment():
    ids = np.array([[5, 6, 6, 0]], dtype=np.int32)
    with pytest.raises(ValueError, match=r"a\.png has 2 pixels of segment id 6, which is not in"):
        segment_codes(ids, [5], np.uint8, "a.png")


@pytest.mark.parametrize("wrong", [[0, 1], [1 << 24], [-1], [4, 4]])
def test_impossible_segment_ids(wrong):
    with pytest.raises(ValueError, match=r"a\.png: the ids in its segments_info must be distinct"):
        segment_codes(np.zeros((2, 2), np.int32), wrong, np.uint8, "a.png")


# --- annotations ---


def _full_size(polygons: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    rles = mask_util.frPyObjects([p.ravel() for p in polygons], *size)
    return mask_util.decode(mask_util.merge(rles)).astype(bool)


coordinates = st.integers(-2000, 6000).map(lambda i: i / 100)  # as in COCO's files


@settings(max_examples=200)
@given(
    st.lists(
        st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_as_drawn_by_pycocotools(polygons):
    polygons = [np.array(p, dtype=np.float64) for p in polygons]
    mask = np.zeros((H, W), bool)
    draw_polygons(polygons, mask)
    # In 4 of 10000 cases a pixel differs, where an edge passes half-way between two fifths of one.
    assert (mask != _full_size(polygons, (H, W))).sum() <= 1


@pytest.mark.parametrize("start", [0.0, 3.1, 7.3])
def test_corners_half_way_between_fifths(start: float):
    """0.1 + 3 is a little more than 3.1: a shift must not decide how such corners are rounded."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        triangle = start + rng.integers(0, 100, (3, 2)) / 10 + 0.1
        mask = np.zeros((H, W), bool)
        draw_polygons([triangle], mask)
        np.testing.assert_array_equal(mask, _full_size([triangle], (H, W)))


def test_polygons_with_nothing_inside():
    for polygons in ([], [np.array([[1.0, 1], [5, 5]])], [np.full((4, 2), 90.0)]):
        mask = np.zeros((H, W), bool)
        draw_polygons(polygons, mask)
        assert not mask.any()


def _rectangle(x0: int, y0: int, x1: int, y1: int) -> tuple[list, np.ndarray]:
    bitmap = np.zeros((H, W), bool)
    bitmap[y0:y1, x0:x1] = True
    return [[x0, y0, x1, y0, x1, y1, x0, y1]], bitmap


def _formats(polygons: list, bitmap: np.ndarray) -> dict[str, list | dict | np.ndarray]:
    compressed = mask_util.encode(np.asfortranarray(bitmap.astype(np.uint8)))
    pixels = bitmap.ravel(order="F").astype(np.int8)  # runs down the columns, the first one is 0
    edges = np.flatnonzero(np.diff(pixels, prepend=0)).tolist()
    counts = np.diff([0, *edges, bitmap.size]).tolist()
    return {
        "polygons": polygons,
        "rle": compressed,
        "rle text": {"size": compressed["size"], "counts": compressed["counts"].decode()},
        "rle counts": {"size": [H, W], "counts": counts},
        "bool": bitmap,
        "uint8": bitmap.astype(np.uint8) * 255,
        "int32": bitmap.astype(np.int32) * 256,
    }


@settings(max_examples=60)
@given(
    geometries(resize=False),
    st.tuples(st.integers(0, W - 1), st.integers(0, H - 1)),
    st.tuples(st.integers(1, W), st.integers(1, H)),
)
def test_all_formats_give_the_transformed_mask(transforms, start, size):
    """Flips and crops move whole pixels, so that a rectangle stays the same in every format."""
    x0, y0 = start
    polygons, bitmap = _rectangle(x0, y0, min(x0 + size[0], W), min(y0 + size[1], H))
    expected = transforms.apply_segmentation(bitmap.astype(np.uint8)) == 1  # padding is 255
    h, w = _content(expected.shape, transforms)
    for name, segmentation in _formats(polygons, bitmap).items():
        mask = np.zeros(expected.shape, bool)
        draw_annotation(segmentation, (H, W), transforms, mask[:h, :w])
        np.testing.assert_array_equal(mask, expected, err_msg=name)


def test_polygons_are_drawn_at_the_new_size():
    """A triangle enlarged 8 times has a straight edge, not the steps of the small mask."""
    triangle = [np.array([2.0, 2, 22, 2, 2, 22])]
    transforms = T.TransformList([T.ResizeTransform(H, W, 8 * H, 8 * W)])
    mask = np.zeros((8 * H, 8 * W), bool)
    draw_annotation(triangle, (H, W), transforms, mask)
    large = triangle[0].reshape(-1, 2) * 8
    np.testing.assert_array_equal(mask, _full_size([large], mask.shape))
    assert triangle[0].tolist() == [2, 2, 22, 2, 2, 22]  # not written to


def test_mask_of_another_size():
    with pytest.raises(ValueError, match=r"its size is \(3, 4\), that of the image \(24, 36\)"):
        draw_annotation(np.ones((3, 4), bool), (H, W), T.TransformList([]), np.zeros((H, W), bool))


# --- boxes ---


def test_boxes_equal_detectron2s_and_empty_masks_go():
    rng = np.random.default_rng(0)
    masks = np.zeros((40, H, W), bool)
    for mask in masks[:30]:
        mask[rng.integers(0, H, 4), rng.integers(0, W, 4)] = True
    masks[30, H - 1, W - 1] = True  # a single pixel
    masks[31] = True
    order = rng.permutation(40)
    instances = to_instances(masks[order], order)
    kept = order[order < 32]
    assert instances.image_size == (H, W)
    assert instances.gt_classes.tolist() == kept.tolist()
    assert instances.gt_classes.dtype == torch.int64
    torch.testing.assert_close(instances.gt_masks.tensor, torch.from_numpy(masks[kept]))
    reference = BitMasks(masks[kept]).get_bounding_boxes().tensor
    torch.testing.assert_close(instances.gt_boxes.tensor, reference)


@pytest.mark.parametrize("n", [0, 3])
def test_no_mask_is_left(n: int):
    instances = to_instances(np.zeros((n, H, W), bool), np.arange(n))
    assert len(instances) == 0
    assert instances.gt_masks.tensor.shape == (0, H, W)
    assert instances.gt_boxes.tensor.shape == (0, 4)
    assert instances.gt_classes.dtype == torch.int64
