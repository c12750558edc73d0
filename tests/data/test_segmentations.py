"""Masks of annotation files: what fits is brought into one form, what does not is refused."""

import math

import numpy as np
import pycocotools.mask as mask_util
import pytest

from d2seg.data.segmentations import overhang, sound_segmentation, to_rle, union

H, W = 12, 16
SQUARE = [3.0, 2.0, 8.0, 2.0, 8.0, 6.0, 3.0, 6.0]


def random_mask(seed: int, size: tuple[int, int] = (H, W)) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.asfortranarray(generator.random(size) < (0.02, 0.5, 0.98, 0.0)[seed % 4], np.uint8)


def decode(segmentation, size: tuple[int, int] = (H, W)) -> np.ndarray:
    return mask_util.decode(to_rle(segmentation, size))


def runs_of(mask: np.ndarray) -> list[int]:
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *changes, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [(H, W), (1, 1), (300, 401)])
def test_runs_as_numbers_text_and_bytes(seed: int, size: tuple[int, int]) -> None:
    mask = random_mask(seed, size)
    compressed = mask_util.encode(mask)
    for counts in (compressed["counts"], compressed["counts"].decode(), runs_of(mask)):
        found = sound_segmentation({"size": list(size), "counts": counts}, size)
        assert found == {"size": list(size), "counts": compressed["counts"].decode()}


def test_polygons_stay_and_those_of_two_points_go() -> None:
    assert sound_segmentation([SQUARE, [1, 2, 3, 4]], (H, W)) == [SQUARE]
    assert decode([SQUARE]).sum() == 20


def test_a_list_of_rles_is_their_union_as_in_referit() -> None:
    masks = [random_mask(0), random_mask(4)]
    parts = [mask_util.encode(mask) for mask in masks]
    assert np.array_equal(decode(sound_segmentation(parts, (H, W))), masks[0] | masks[1])


def test_union_of_polygons_and_rle() -> None:
    mask = random_mask(0)
    rle = sound_segmentation(mask_util.encode(mask), (H, W))
    assert np.array_equal(decode(union([[SQUARE], rle], (H, W))), mask | decode([SQUARE]))
    assert union([[SQUARE]], (H, W)) == [SQUARE]


@pytest.mark.parametrize("change", [(0, -1), (-1, 0), (1, 0), (0, 1), (-1, 1), (1, 1)])
def test_an_rle_a_pixel_off_its_image(change: tuple[int, int]) -> None:
    own = (H + change[0], W + change[1])
    mask = random_mask(1, own)
    for counts in (mask_util.encode(mask)["counts"], runs_of(mask)):
        found = sound_segmentation({"size": list(own), "counts": counts}, (H, W))
        expected = np.zeros((H + 1, W + 1), np.uint8)
        expected[: own[0], : own[1]] = mask
        assert np.array_equal(decode(found), expected[:H, :W])


RLE = {"size": [H, W], "counts": [0, H * W]}


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "neither a list of polygons nor an RLE"),
        ([], "neither a list of polygons"),
        ([[1, 2, 3, 4]], "fewer than 3 points"),
        ([[1, 2, 3, 4, 5]], "has 5 numbers, which is odd"),
        ([["1"] * 6], "no list of numbers"),
        ([[True] * 6], "no list of numbers"),
        ([SQUARE, RLE], "no list of numbers"),
        ([[1, 2, 3, math.nan, 5, 6]], "far outside of its 16x12 image"),
        ([[1, 2, 3, 1e9, 5, 6]], "far outside"),
        ([[1, 2, 10**400, 2, 5, 6]], "far outside"),
        ([[-17, 2, 3, 2, 5, 6]], "far outside"),
        ({**RLE, "size": [H + 2, W]}, "RLE is 14x16, its image 12x16"),
        ({**RLE, "size": [W, H]}, "RLE is 16x12, its image 12x16"),
        ({**RLE, "size": [10**9, 10**9]}, "RLE is 1000000000x"),
        ({**RLE, "size": None}, "no size"),
        ({**RLE, "size": [H + 0.5, W]}, "no size"),
        ({**RLE, "size": [1.0, 2.0]}, "RLE is 1x2, its image 12x16"),
        ({**RLE, "counts": [0, H * W - 1]}, "do not make 12x16 pixels"),
        ({**RLE, "counts": [H * W + 1, -1]}, "do not make"),
        ({**RLE, "counts": [2**62, 2**62, H * W]}, "do not make"),
        ({**RLE, "counts": ["a"]}, "no 'counts'"),
        ({**RLE, "counts": None}, "no 'counts'"),
        ({**RLE, "counts": ""}, "do not make"),
        ({**RLE, "counts": "o" * 5000}, "do not make"),  # a number that never ends
        ({**RLE, "counts": "0Pé"}, "do not make"),
        ({**RLE, "counts": "0000"}, "do not make"),
    ],
)
def test_masks_that_do_not_fit(segmentation, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        sound_segmentation(segmentation, (H, W))
    assert "\n" not in str(caught.value)


def test_overhang() -> None:
    assert overhang([SQUARE], (H, W)) == 0
    assert overhang([SQUARE, [-2.5, 0, 3, 4, 5, 6]], (H, W)) == 2.5
    assert overhang([SQUARE, [0, 0, 3, 4, W, H + 1]], (H, W)) == 1
    assert overhang(sound_segmentation(RLE, (H, W)), (H, W)) == 0
