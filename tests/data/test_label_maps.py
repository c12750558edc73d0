import io
import zlib

import numpy as np
import pytest
from PIL import Image

from d2seg.data.label_maps import NUM_IDS, read_id_map, read_labels, write_id_map
from d2seg.data.label_values import LabelValues, parse_label_values
from data_faults.picture_cases import chunk, png, tiff


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


def test_signed_16_bit_files_give_what_was_meant(tmp_path):
    # tag 339 = sample format, 2 = signed
    image = Image.fromarray(np.array([[0, 846, 65535]], np.uint16))
    image.save(tmp_path / "a.tif", tiffinfo={339: 2})
    with Image.open(tmp_path / "a.tif") as stored:
        assert np.array(stored).min() == -1  # the case at hand
    assert read_labels(tmp_path / "a.tif").tolist() == [[0, 846, 65535]]


def test_id_map_that_cannot_be_decoded_is_named(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)).save(
        whole, "png"
    )
    content = whole.getvalue()
    middle = len(content) // 2
    flipped = bytes([content[middle] ^ 1])
    for wrong in (
        b"",
        b"no image",
        content[:middle],
        content[:middle] + flipped + content[middle + 1 :],
    ):
        (tmp_path / "broken.png").write_bytes(wrong)
        with pytest.raises(ValueError, match=r"broken\.png: the segment ids cannot be read"):
            read_id_map(str(tmp_path / "broken.png"))
    with pytest.raises(ValueError, match=r"absent\.png: the segment ids cannot be read"):
        read_id_map(str(tmp_path / "absent.png"))


def test_id_maps_of_other_kinds(tmp_path):
    """Grey and palette images stand for the colours that they show; transparency counts for
    nothing; 16 bits are refused."""
    grey = np.array([[0, 3]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "l.png")
    assert read_id_map(str(tmp_path / "l.png")).tolist() == [[0, 3 + 3 * 256 + 3 * 65536]]
    palette = Image.new("P", (2, 1))
    palette.putdata([0, 1])
    palette.putpalette([0, 0, 0, 7, 8, 9])
    palette.save(tmp_path / "p.png")
    assert read_id_map(str(tmp_path / "p.png")).tolist() == [[0, 7 + 8 * 256 + 9 * 65536]]
    Image.fromarray(np.array([[[1, 2, 3, 0]]], np.uint8)).save(tmp_path / "a.png")
    assert read_id_map(str(tmp_path / "a.png")).tolist() == [[1 + 2 * 256 + 3 * 65536]]
    Image.fromarray(np.array([[40000]], np.uint16)).save(tmp_path / "i.png")
    with pytest.raises(ValueError, match=r"i\.png: .* uint16 channels"):
        read_id_map(str(tmp_path / "i.png"))


@pytest.mark.parametrize(
    ("suffix", "values"),
    [
        ("png", np.array([[0, 200]], np.uint8)),
        ("png", np.array([[0, 40000]], np.uint16)),
        ("tif", np.array([[0, 65535]], np.uint16)),
    ],
)
def test_ids_are_read_as_they_were_written(tmp_path, suffix, values):
    file = tmp_path / f"labels.{suffix}"
    Image.fromarray(values).save(file)
    read = read_labels(file)
    assert np.array_equal(read, values)
    assert read.shape == (1, 2)


def test_a_palette_image_gives_indices_and_not_brightness(tmp_path):
    image = Image.new("P", (3, 1))
    image.putdata([0, 1, 2])
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 255, 0])
    image.save(tmp_path / "p.png")
    assert read_labels(tmp_path / "p.png").tolist() == [[0, 1, 2]]


def test_one_bit_images_give_zeros_and_ones(tmp_path):
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "b.png")
    read = read_labels(tmp_path / "b.png")
    assert read.tolist() == [[0, 1]]
    assert read.dtype == np.uint8


def few_bits(kind: str, bits: int, rows: list[list[int]]) -> bytes:
    """A grey PNG or TIFF with pixels of 2 or 4 bits, which Pillow reads and does not write."""
    packed = bytes(
        sum(value << (8 - bits * (i + 1)) for i, value in enumerate(row[start : start + 8 // bits]))
        for row in rows
        for start in range(0, len(row), 8 // bits)
    )
    height, width = len(rows), len(rows[0])
    if kind == "png":
        step = len(packed) // height
        lines = b"".join(b"\0" + packed[i : i + step] for i in range(0, len(packed), step))
        return png(chunk(b"IDAT", zlib.compress(lines)), size=(width, height), bits=bits)
    facts = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 278: height, 279: len(packed)}
    offset = 8 + 2 + 12 * (len(facts) + 1) + 4
    entries = sorted((facts | {273: offset}).items())
    return tiff(*((tag, 4, 1, value) for tag, value in entries), tail=packed)


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_gives_its_numbers(tmp_path, kind: str, bits: int) -> None:
    """Pillow and OpenCV hand out their brightness: 85 or 17 times as much."""
    rows = [[0, 1, 3, 2, 1], [2**bits - 1, 0, 2, 2, 0]]
    file = tmp_path / f"a.{kind}"
    file.write_bytes(few_bits(kind, bits, rows))
    assert read_labels(file).tolist() == rows
    step = 255 // (2**bits - 1)
    with Image.open(file) as image:
        assert np.array(image).tolist() == [[step * value for value in row] for row in rows]
    shades = tuple(step * value for value in range(16))
    as_bright = LabelValues(tuple((value, 15 - value // step) for value in shades), shades)
    assert read_labels(file, as_bright).tolist() == [[15 - value for value in row] for row in rows]
    as_numbers = LabelValues(tuple((value, 20 - value) for value in range(16)), tuple(range(16)))
    assert read_labels(file, as_numbers).tolist() == [[20 - value for value in row] for row in rows]


@pytest.mark.parametrize(
    ("bits", "values", "expected"),
    [
        (4, {0: "a", 15: "b"}, [0, 1]),  # not the ignore label 255, as bright as 15 is
        (2, {0: "a", 3: "b"}, [0, 1]),
        (4, {0: "a", 255: "b"}, [0, 1]),
        (2, {0: "a", 85: "c", 255: "b"}, [0, 2]),
        (4, {0: "a", 15: "c", "other": "b"}, [0, 1]),
        (2, {0: "a", "other": "b"}, [0, 1]),
        (4, {value: str(value) for value in range(20)}, [0, 15]),
    ],
)
def test_few_bits_are_read_alike_in_all_files(tmp_path, bits, values, expected) -> None:
    """Of a declaration, whatever the single file holds, and with an ignore label of 255."""
    names = list(dict.fromkeys(values.values()))
    declared = parse_label_values(values, names, ignore_label=None if "other" in values else 255)
    file = tmp_path / "a.png"
    for row, wanted in (([0, 2**bits - 1], expected), ([0, 0], [0, 0])):
        file.write_bytes(few_bits("png", bits, [row]))
        assert read_labels(file, declared).tolist() == [wanted]


def test_colours_and_broken_files_are_refused(tmp_path):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"rgb\.png.*'RGB'.*prepare_own_labels"):
        read_labels(tmp_path / "rgb.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png: the label map cannot be read"):
        read_labels(tmp_path / "broken.png")
