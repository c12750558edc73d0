"""Files of any number of bands and any type of numbers, and what is wrong with some."""

from pathlib import Path

import numpy as np
import pytest
from detectron2.data import transforms as T
from PIL import Image

from d2seg.config.loading import load_config
from d2seg.data.augmentation import Resize, ResizeShortestEdge
from d2seg.data.bands import on_scale, read_bands
from d2seg.data.readers import PictureReader, build_reader
from d2seg.pictures import UnreadableFileError
from d2seg.registries import READERS

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (6, 7, 5), np.uint8)
WORDS = RNG.integers(0, 65536, (6, 7, 5), np.uint16)


def write_tiff(path: Path, array: np.ndarray, **options: object) -> str:
    tifffile.imwrite(path, array, **({"photometric": "minisblack"} | options))
    return str(path)


TIFFS = {  # how an array (H, W, C) lies in the file
    "interleaved": lambda a: (a, {"planarconfig": "contig"}),
    "planes": lambda a: (a.transpose(2, 0, 1), {"planarconfig": "separate"}),
    "pages": lambda a: (a.transpose(2, 0, 1), {}),
    "tiles": lambda a: (a, {"planarconfig": "contig", "tile": (16, 16)}),
    "deflate": lambda a: (a, {"planarconfig": "contig", "compression": "zlib", "predictor": True}),
    "64 bits": lambda a: (a, {"planarconfig": "contig", "bigtiff": True}),
    "big endian": lambda a: (a, {"planarconfig": "contig", "byteorder": ">"}),
}


@pytest.mark.parametrize("kind", TIFFS)
@pytest.mark.parametrize("array", [BYTES, WORDS], ids=["8 bits", "16 bits"])
def test_tiffs(tmp_path: Path, kind: str, array: np.ndarray) -> None:
    stored, options = TIFFS[kind](array)
    found = read_bands(write_tiff(tmp_path / "a.tif", stored, **options))
    if array is BYTES:
        assert found.dtype == np.uint8
        assert np.array_equal(found, array)
    else:
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, array / 257, rtol=1e-6)


def test_lzw(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    path = write_tiff(tmp_path / "a.tif", BYTES, planarconfig="contig", compression="lzw")
    assert np.array_equal(read_bands(path), BYTES)


def test_arrays_and_contents(tmp_path: Path) -> None:
    for array in (BYTES, BYTES[..., 0], np.asfortranarray(BYTES)):
        np.save(tmp_path / "a.npy", array)
        expected = array if array.ndim == 3 else array[..., None]
        assert np.array_equal(read_bands(str(tmp_path / "a.npy")), expected)
    content = (tmp_path / "a.npy").read_bytes()
    assert np.array_equal(read_bands("of a table", content), BYTES)


@pytest.mark.parametrize(("mode", "bands"), [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_pictures_keep_their_bands(tmp_path: Path, mode: str, bands: int) -> None:
    picture = Image.fromarray(BYTES[..., :bands].squeeze(), mode)
    picture.save(tmp_path / "a.png")
    assert np.array_equal(read_bands(str(tmp_path / "a.png")), BYTES[..., :bands])


def test_grey_of_16_bits_keeps_its_steps(tmp_path: Path) -> None:
    Image.fromarray(WORDS[..., 0]).save(tmp_path / "a.png")
    found = read_bands(str(tmp_path / "a.png"))
    np.testing.assert_allclose(found, WORDS[..., :1] / 257, rtol=1e-6)


def test_a_white_zero_is_turned_over(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", BYTES[..., 0], photometric="miniswhite")
    assert np.array_equal(read_bands(path), 255 - BYTES[..., :1])


@pytest.mark.parametrize(
    ("values", "value_range", "expected"),
    [
        (np.array([0, 200], np.uint16), (), [0, 200]),
        (np.array([0, 514], np.uint16), (), [0, 2]),
        (np.array([0, 255], np.int32), (), [0, 255]),
        (np.array([0.0, 0.5]), (), [0, 127.5]),
        (np.array([0.0, 99.5]), (), [0, 99.5]),
        (np.array([False, True]), (), [0, 255]),
        (np.array([-100, 0, 5000, 20000], np.int16), (0, 10000), [0, 0, 127.5, 255]),
        (np.array([-20.0, 0.0]), (-40, 0), [127.5, 255]),
        (np.array([0, 10], np.uint8), (0, 20), [0, 127.5]),
    ],
)
def test_scale(values: np.ndarray, value_range: tuple, expected: list[float]) -> None:
    np.testing.assert_allclose(on_scale(values, value_range), expected, rtol=1e-6)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _palette(path: Path) -> None:
    table = RNG.integers(0, 65536, (3, 256), np.uint16)
    tifffile.imwrite(path, BYTES[..., 0], photometric="palette", colormap=table)


NAN = BYTES.astype(np.float32)
NAN[1, 2, 3] = np.nan
WRONG = {
    "nan.tif": (lambda p: write_tiff(p, NAN, planarconfig="contig"), "1 of its 210 values are NaN"),
    "nan.npy": (lambda p: np.save(p, NAN), "1 of its 210 values are NaN"),
    "inf.npy": (lambda p: np.save(p, NAN * np.inf), "210 of its 210 values are NaN or infinite"),
    "below.npy": (lambda p: np.save(p, -WORDS.astype(int)), "set INPUT.VALUE_RANGE to the two"),
    "above.npy": (lambda p: np.save(p, WORDS.astype(float)), "set INPUT.VALUE_RANGE to the two"),
    "complex.npy": (lambda p: np.save(p, NAN * 1j), "type complex64; give real numbers"),
    "text.npy": (lambda p: np.save(p, np.array(["a"])), "no array of numbers"),
    "pickle.npy": (lambda p: np.save(p, np.array([{}])), "no array of numbers"),
    "four.npy": (lambda p: np.save(p, BYTES[None]), r"shape \(1, 6, 7, 5\), no \(H, W\) or"),
    "empty.npy": (lambda p: np.save(p, BYTES[:0]), r"shape \(0, 7, 5\)"),
    "cut.npy": (lambda p: [np.save(p, BYTES), _cut(p)], "has 170 bytes"),
    "cut.tif": (lambda p: [write_tiff(p, BYTES, planarconfig="contig"), _cut(p)], "cut off|read"),
    "no.tif": (lambda p: p.write_bytes(b"II*\0" + bytes(20)), "."),
    "palette.tif": (_palette, "numbers of a palette; convert it to colours"),
    "palette.png": (lambda p: Image.new("P", (4, 4)).save(p), "numbers of a palette"),
    "two.tif": (lambda p: write_tiff(p, BYTES[..., :2], planarconfig="contig"), "it has 2 bands, "),
    "one.png": (lambda p: Image.new("L", (4, 4)).save(p), "it has 1 band, .* has 5 values"),
    "six.npy": (lambda p: np.save(p, np.dstack([BYTES, BYTES[..., :1]])), "INPUT.BANDS chooses"),
    "first.npy": (lambda p: np.save(p, BYTES.transpose(2, 0, 1)), "the bands come last"),
    "none.npy": (lambda p: None, "No such file"),
    "folder.npy": (lambda p: p.mkdir(), "no regular file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    make, message = WRONG[name]
    make(tmp_path / name)
    reader = build_reader(config_of_bands())
    with pytest.raises(UnreadableFileError, match=message) as caught:
        reader(str(tmp_path / name))
    text = str(caught.value)
    assert text.startswith(f"cannot read the image {tmp_path / name}: ")
    assert "\n" not in text


def test_a_tiff_that_declares_too_much_is_refused(tmp_path: Path) -> None:
    """Before its memory is asked for: 4 GiB of zeros that no file holds."""
    path = tmp_path / "a.tif"
    write_tiff(path, np.zeros((1, 1, 5), np.uint8), planarconfig="contig")
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for tag in ("ImageWidth", "ImageLength"):
            tiff.pages[0].tags[tag].overwrite(60000)
    with pytest.raises(UnreadableFileError, match=r"60000x60000 pixels .* more than"):
        read_bands(str(path))


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiff(tmp_path / "a.tif", BYTES, planarconfig="contig")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(UnreadableFileError, match=r"pip install 'd2seg\[tiff\]'"):
        read_bands(path)


def test_pillow_points_to_the_reader_of_bands(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", WORDS, planarconfig="contig")
    with pytest.raises(UnreadableFileError, match=r"INPUT.READER bands reads .npy files and TIFFs"):
        PictureReader("RGB")(path)


def config_of_bands(number: int = 5, **keys: object):
    cfg = load_config(None)
    cfg.INPUT.READER = "bands"
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = [100.0] * number, [50.0] * number
    for key, value in keys.items():
        cfg.INPUT[key] = value
    return cfg


def test_bands_are_chosen_and_put_in_order(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", BYTES)
    reader = build_reader(config_of_bands(3, BANDS=[4, 0, 1]))
    found = reader(str(tmp_path / "a.npy"))
    assert np.array_equal(found, BYTES[..., [4, 0, 1]])
    assert np.array_equal(reader.checked(found), found)  # they are not chosen again
    reader = build_reader(config_of_bands(1, BANDS=[5]))
    with pytest.raises(UnreadableFileError, match=r"has 5 bands, and INPUT.BANDS asks for \[5\]"):
        reader(str(tmp_path / "a.npy"))


@pytest.mark.parametrize("image_format", ["RGB", "BGR"])
def test_what_is_drawn_on(image_format: str) -> None:
    reader = build_reader(config_of_bands(FORMAT=image_format))
    first = BYTES[..., :3] if image_format == "RGB" else BYTES[..., 2::-1]
    assert np.array_equal(reader.shown(BYTES), first)
    assert np.array_equal(reader.shown(BYTES[..., :2]), np.repeat(BYTES[..., :1], 3, axis=2))
    assert reader.shown(np.full((1, 1, 4), 300.4, np.float32)).tolist() == [[[255, 255, 255]]]


def test_grey_of_a_colour_picture(tmp_path: Path) -> None:
    """A frame of a video becomes what a file of the same pixels is read as, to a rounding."""
    cfg = load_config(None)
    cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = "L", [100.0], [50.0]
    reader = build_reader(cfg)
    Image.fromarray(BYTES[..., :3]).save(tmp_path / "a.png")
    found = reader(str(tmp_path / "a.png"))
    assert found.shape == (6, 7, 1)
    np.testing.assert_allclose(reader.of_rgb(BYTES[..., :3]), found, atol=1)
    assert np.array_equal(reader.shown(found), np.repeat(found, 3, axis=2))


def test_a_reader_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def Hyperspectral(cfg):
        return lambda file_name, content: np.full((2, 3, 5), len(file_name), np.float64)

    monkeypatch.setattr(READERS, "_obj_map", dict(READERS._obj_map))
    READERS.register(Hyperspectral)
    cfg = config_of_bands(READER="Hyperspectral")
    found = build_reader(cfg)("four")
    assert (found.dtype, found.shape, found[0, 0, 0]) == (np.float32, (2, 3, 5), 4)
    with pytest.raises(ValueError, match=r"INPUT.READER is 'gdal'; it is one of picture, bands"):
        build_reader(config_of_bands(READER="gdal"))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_bands_are_resized_each_by_itself(dtype: type, channels: int) -> None:
    """As Pillow resizes grey: no band is another one's opacity, and floats are smoothed."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (40, 60, channels)).astype(dtype)
    transform = ResizeShortestEdge(13, 1000).get_transform(image)
    resized = transform.apply_image(image)
    assert (resized.shape, resized.dtype) == ((13, 20, channels), dtype)
    for band in range(channels):
        alone = Image.fromarray(image[..., band]).resize((20, 13), Image.BILINEAR)
        assert np.array_equal(resized[..., band], np.asarray(alone))


def test_colours_and_labels_are_resized_as_detectron2_does() -> None:
    rng = np.random.default_rng(0)
    image, labels = (
        rng.integers(0, 256, (40, 60, 3), np.uint8),
        rng.integers(0, 9, (40, 60), np.uint8),
    )
    ours, theirs = (each.get_transform(image) for each in (Resize((13, 20)), T.Resize((13, 20))))
    assert np.array_equal(ours.apply_image(image), theirs.apply_image(image))
    assert np.array_equal(ours.apply_segmentation(labels), theirs.apply_segmentation(labels))
