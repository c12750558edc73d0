"""Pixel values and what they stand for, worked out by hand; files of every kind that masks have."""

import numpy as np
import pytest
from PIL import Image

from d2seg.data.label_maps import read_labels, read_values
from d2seg.data.label_values import LabelValues, names_in, parse_label_values

CLASSES = ["background", "polyp"]
BINARY = {0: "background", 255: "polyp"}


def binary(**keys) -> LabelValues:
    return parse_label_values(BINARY, CLASSES, **{"ignore_label": 255, **keys})


def test_a_listed_value_is_its_class_even_where_it_is_the_ignore_label():
    labels = binary().to_labels(np.array([[0, 255], [255, 0]], np.uint8), "a.png")
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 1], [1, 0]]


def test_the_ignore_label_stays_where_it_is_not_listed():
    values = parse_label_values({10: "polyp", 20: "background"}, CLASSES, ignore_label=7)
    assert values.to_labels(np.array([10, 7, 20], np.uint8), "a").tolist() == [1, 7, 0]
    wide = parse_label_values({0: "background", 300: "polyp"}, CLASSES, ignore_label=65535)
    labels = wide.to_labels(np.array([300, 65535, 0], np.uint16), "a")
    assert (labels.tolist(), labels.dtype) == ([1, 65535, 0], np.uint16)


def test_several_values_may_be_one_class():
    values = parse_label_values(
        {0: "background", 1: "polyp", 9: "polyp"}, CLASSES, ignore_label=255
    )
    assert values.to_labels(np.array([9, 1, 0], np.uint8), "a").tolist() == [1, 1, 0]


def test_what_is_not_declared_is_named_with_its_count_and_the_remedy():
    values = np.array([[0, 255, 7], [7, 254, 1]], np.uint8)
    with pytest.raises(ValueError, match=r"a\.png: .* 1 \(1 times\), 7 \(2 times\), 254 \(1 ") as e:
        binary().to_labels(values, "a.png")
    assert "nearest_value: true" in str(e.value)
    assert "\n" not in str(e.value)
    assert binary().undeclared(values) == {1: 1, 7: 2, 254: 1}
    with pytest.raises(ValueError, match=r"2 \(1 times\), .* and 5 more"):
        binary().to_labels(np.arange(1, 11, dtype=np.uint8), "a.png")


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64])
def test_values_beyond_16_bits_are_not_declared(dtype):
    values = np.array([0, 65536 + 255, 65535], dtype)
    assert binary().undeclared(values) == {65536 + 255: 1, 65535: 1}
    rest = parse_label_values({0: "background", "other": "polyp"}, CLASSES, ignore_label=None)
    assert rest.to_labels(values, "a").tolist() == [0, 1, 1]


def test_the_nearest_value_takes_every_pixel():
    values = binary(nearest=True)
    pixels = np.arange(256, dtype=np.uint8)
    assert values.to_labels(pixels, "a").tolist() == [int(v > 127) for v in range(256)]
    three = parse_label_values(
        {0: "a", 100: "b", 200: "c"}, ["a", "b", "c"], nearest=True, ignore_label=255
    )
    # 50 and 150 lie in the middle: the lower one; the ignore label counts exactly, and only so
    assert three.to_labels(np.array([50, 51, 150, 151, 254, 255]), "a").tolist() == [
        0, 1, 1, 2, 2, 255,
    ]  # fmt: skip


def test_the_nearest_value_is_that_of_a_search():
    listed = {3: "a", 17: "b", 18: "c", 90: "a", 255: "b"}
    values = parse_label_values(listed, ["a", "b", "c"], nearest=True, ignore_label=None)
    pixels = np.arange(256)
    expected = [
        "abc".index(listed[min(listed, key=lambda value, p=p: (abs(value - p), value))])
        for p in pixels
    ]
    assert values.to_labels(pixels, "a").tolist() == expected


def test_other_takes_all_values_but_a_declared_ignore_label():
    content = {0: "background", "other": "polyp"}
    pixels = np.array([0, 1, 255, 3], np.uint8)
    without = parse_label_values(content, CLASSES, ignore_label=None)
    assert without.to_labels(pixels, "a").tolist() == [0, 1, 1, 1]
    ignoring = parse_label_values(content, CLASSES, ignore_label=255)
    assert ignoring.to_labels(pixels, "a").tolist() == [0, 1, 255, 1]
    assert not ignoring.undeclared(pixels)


def test_keys_of_json_and_the_order_of_the_names():
    values = parse_label_values({"0": "background", "255": "polyp"}, CLASSES, ignore_label=255)
    assert values == binary()
    assert names_in({255: "polyp", 0: "background", 3: "polyp"}) == ["polyp", "background"]
    assert names_in(None) == names_in([1]) == []


@pytest.mark.parametrize(
    ("values", "keys", "message"),
    [
        ([0, 255], {}, "'values' has the form"),
        ({}, {}, "'values' has the form"),
        ({0: "background", 255: "polip"}, {}, "maps 255 to 'polip', which is not among"),
        ({-1: "polyp"}, {}, "has the key -1"),
        ({65536: "polyp"}, {}, "has the key 65536"),
        ({"rest": "polyp"}, {}, "has the key 'rest'"),
        ({True: "polyp"}, {}, "has the key True"),
        ({0.5: "polyp"}, {}, "has the key 0.5"),
        (BINARY, {"nearest": "yes"}, "nearest_value is 'yes'; it is true or false"),
        ({0: "background", "other": "polyp"}, {"nearest": True}, "leaves nothing to nearest_value"),
    ],
)
def test_mistakes_in_the_keys_are_named(values, keys, message):
    with pytest.raises(ValueError, match=message):
        parse_label_values(values, CLASSES, ignore_label=255, **keys)


def mask(size=(16, 16)) -> np.ndarray:
    pixels = np.zeros(size, np.uint8)
    pixels[4:12, 4:12] = 255
    return pixels


def save(path, pixels: np.ndarray, mode: str | None = None, **options):
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["L", "1", "LA", "RGB", "RGBA"])
def test_a_png_of_every_mode_gives_the_same_labels(tmp_path, mode):
    file = save(tmp_path / "a.png", mask(), mode)
    with Image.open(file) as stored:
        assert stored.mode == mode  # the case at hand
    assert (read_labels(file, binary()) == mask() // 255).all()


@pytest.mark.parametrize("suffix", ["tif", "bmp", "png"])
def test_one_bit_is_0_and_1_where_these_are_declared(tmp_path, suffix):
    file = save(tmp_path / f"a.{suffix}", mask(), "1")
    ones = parse_label_values({0: "background", 1: "polyp"}, CLASSES, ignore_label=255)
    assert (read_labels(file, ones) == mask() // 255).all()
    assert (read_labels(file) == mask() // 255).all()


def test_a_palette_gives_its_indices(tmp_path):
    image = Image.fromarray(mask() // 255 * np.uint8(3), "P")
    image.putpalette([9, 9, 9] * 3 + [200, 0, 0])
    image.save(tmp_path / "a.png")
    values = parse_label_values({0: "background", 3: "polyp"}, CLASSES, ignore_label=255)
    assert (read_labels(tmp_path / "a.png", values) == mask() // 255).all()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_mask_needs_the_nearest_value(tmp_path, mode):
    soft = mask()
    soft[4:12, 4:10] = 250
    file = save(tmp_path / "a.jpg", soft, mode, quality=75)
    assert len(np.unique(read_values(file, binary()))) > 2  # the case at hand
    with pytest.raises(ValueError, match=r"a\.jpg: label values that 'values' .*nearest_value"):
        read_labels(file, binary())
    assert (read_labels(file, binary(nearest=True)) == mask() // 255).all()


def test_coloured_and_transparent_masks_are_refused(tmp_path):
    colors = np.stack([mask(), np.zeros_like(mask()), np.zeros_like(mask())], axis=-1)
    file = save(tmp_path / "a.png", colors)
    for values in (binary(), binary(nearest=True)):
        with pytest.raises(ValueError, match=r"a\.png: .* 64 pixels of this are coloured"):
            read_labels(file, values)
    clear = np.concatenate([np.stack([mask()] * 3, axis=-1), mask()[..., None]], axis=-1)
    with pytest.raises(ValueError, match=r"b\.png: .* transparent pixels"):
        read_labels(save(tmp_path / "b.png", clear), binary())
    # without 'values' a picture of three channels is no label map, grey or not
    with pytest.raises(ValueError, match="needs one channel of class ids"):
        read_labels(save(tmp_path / "c.png", mask(), "RGB"))


def test_channels_of_a_jpeg_may_differ_a_little(tmp_path):
    colors = np.stack([mask()] * 3, axis=-1)
    colors[0, 0] = [10, 0, 3]
    file = save(tmp_path / "a.png", colors)
    assert read_labels(file, binary(nearest=True))[0, 0] == 0
    with pytest.raises(ValueError, match="1 pixels of this are coloured"):
        read_labels(file, binary())
