import numpy as np
import pytest
from PIL import Image

from d2seg.evaluation.id_maps import (
    NUM_IDS,
    IdLookup,
    read_id_map,
    read_label_map,
    write_id_map,
)


def test_id_map_is_red_green_blue_little_end_first(tmp_path):
    Image.fromarray(np.array([[[1, 2, 3], [0, 0, 0]]], np.uint8)).save(tmp_path / "a.png")
    ids = read_id_map(str(tmp_path / "a.png"))
    assert ids.tolist() == [[1 + 2 * 256 + 3 * 65536, 0]]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32])
def test_id_map_round_trip(tmp_path, dtype):
    ids = np.random.default_rng(0).integers(0, NUM_IDS, (7, 5)).astype(dtype)
    write_id_map(str(tmp_path / "a.png"), ids.T)  # not contiguous
    assert (read_id_map(str(tmp_path / "a.png")) == ids.T).all()


def test_written_id_map_is_what_panopticapi_reads(tmp_path):
    utils = pytest.importorskip("panopticapi.utils")
    ids = np.array([[0, 255, 256], [65535, 65536, NUM_IDS - 1]])
    write_id_map(str(tmp_path / "a.png"), ids)
    assert (utils.rgb2id(np.array(Image.open(tmp_path / "a.png"))) == ids).all()


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
