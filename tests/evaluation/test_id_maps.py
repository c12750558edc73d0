import numpy as np
import pytest
from PIL import Image

from d2seg.data.label_maps import NUM_IDS
from d2seg.evaluation.id_maps import IdLookup, read_label_map


def test_label_map_8_bit_is_writable_and_of_the_asked_type(tmp_path):
    labels = np.array([[0, 149, 255]], np.uint8)
    Image.fromarray(labels).save(tmp_path / "a.png")
    read = read_label_map(str(tmp_path / "a.png"), dtype=int)
    assert read.dtype == int
    assert read.flags.writeable
    assert read.tolist() == [[0, 149, 255]]


def test_label_map_with_palette_gives_the_indices(tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(tmp_path / "a.png")
    assert read_label_map(str(tmp_path / "a.png")).tolist() == [[0, 1, 2]]


def test_label_map_unsigned_16_bit_tiff(tmp_path):
    Image.fromarray(np.array([[0, 846, 65535]], np.uint16)).save(tmp_path / "a.tif")
    assert read_label_map(str(tmp_path / "a.tif")).tolist() == [[0, 846, 65535]]


def test_label_map_signed_16_bit_tiff(tmp_path):
    # tag 339 = sample format, 2 = signed
    image = Image.fromarray(np.array([[0, 846, 65535]], np.uint16))
    image.save(tmp_path / "a.tif", tiffinfo={339: 2})
    with Image.open(tmp_path / "a.tif") as stored:
        assert np.array(stored).min() == -1  # the case at hand
    assert read_label_map(str(tmp_path / "a.tif")).tolist() == [[0, 846, 65535]]


def test_label_map_of_colours_is_refused(tmp_path):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png.*one channel"):
        read_label_map(str(tmp_path / "a.png"))


def test_lookup_gives_zero_for_other_ids_and_forgets():
    lookup = IdLookup()
    ids = np.array([[0, 5, NUM_IDS - 1]])
    assert lookup(ids, {5: 1, NUM_IDS - 1: 65535}).tolist() == [[0, 1, 65535]]
    assert lookup(ids, {0: 3}).tolist() == [[3, 0, 0]]


@pytest.mark.parametrize("bad", [-1, NUM_IDS])
def test_lookup_refuses_ids_that_a_png_cannot_hold(bad):
    with pytest.raises(ValueError, match="allowed is"):
        IdLookup()(np.array([[0, bad]]), {})
    with pytest.raises(ValueError, match="allowed is"):
        IdLookup()(np.array([[0]]), {bad: 1})


def test_lookup_refuses_more_segments_than_values():
    with pytest.raises(ValueError, match="65536 segments"):
        IdLookup()(np.array([[0]]), dict.fromkeys(range(65536), 1))
