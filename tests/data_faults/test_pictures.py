"""Odd and damaged pictures and label maps: the right pixels, or one line that names the file."""

import io
import os
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from d2seg.data.label_maps import read_id_map, read_labels
from d2seg.pictures import MAX_PIXELS, UnreadableFileError, read_image, shown_size

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
READERS = {"image": lambda file: read_image(file, "RGB"), "labels": read_labels, "ids": read_id_map}


def png(pixels: np.ndarray, **arguments: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", **arguments)
    return stream.getvalue()


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, (48, 64), dtype=np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def second_chunk_damaged(content: bytes) -> bytes:
    """The IDAT of a PNG in two, the second with a kind that there is not."""
    at = content.index(b"IDAT")
    length = struct.unpack(">I", content[at - 4 : at])[0]
    data = content[at + 4 : at + 4 + length]
    second = bytearray(chunk(b"IDAT", data[length // 2 :]))
    second[4:8] = b"I\x01AT"
    parts = chunk(b"IDAT", data[: length // 2]) + bytes(second)
    return content[: at - 4] + parts + chunk(b"IEND", b"")


def little_tiff(values: np.ndarray, bits: int, photometric: int | None, kind: int = 1) -> bytes:
    """A TIFF of whole rows of bytes, its pixels as they are stored.

    Args:
        kind: of its numbers; 3: floating point
    """
    height, width = values.shape
    shifts = np.arange(8 - bits, -1, -bits)
    data = values.tobytes()
    if bits < 8:
        data = (values.reshape(-1, 8 // bits) << shifts).sum(1).astype(np.uint8).tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1}
    tags |= {278: height, 279: len(data), 339: kind}
    entries = [struct.pack("<HHII", k, 4, 1, v) for k, v in tags.items() if v is not None]
    at = 8 + len(data) + len(data) % 2
    head = struct.pack("<2sHI", b"II", 42, at) + data.ljust(at - 8, b"\0")
    return head + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


@pytest.mark.parametrize("photometric", [None, 0, 1])
@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_labels_of_a_tiff_are_the_stored_numbers(tmp_path, bits: int, photometric) -> None:
    """Pillow inverts those that say that 0 is white, and those that do not say what is."""
    if bits == 16 and photometric is None:
        photometric = 1
    values = np.array([[0, 1, 2, 3], [3, 3, 0, 1]], np.uint16 if bits == 16 else np.uint8)
    (tmp_path / "a.tif").write_bytes(little_tiff(values, bits, photometric))
    assert read_labels(tmp_path / "a.tif").tolist() == values.tolist()


def test_labels_of_a_tiff_of_no_kind_of_label_are_told_what_is(tmp_path) -> None:
    (tmp_path / "a.tif").write_bytes(little_tiff(np.zeros((2, 2), np.float64), 64, 1, 3))
    with pytest.raises(
        ValueError, match="a label map holds whole numbers of 8 to 32 bits"
    ) as caught:
        read_labels(tmp_path / "a.tif")
    assert "INPUT.READER" not in str(caught.value)


def test_labels_of_a_tiff_of_bits(tmp_path) -> None:
    bits = np.array([[0, 1, 1, 0, 0, 0, 0, 1]], np.uint8)
    (tmp_path / "a.tif").write_bytes(little_tiff(bits, 1, 1))
    assert read_labels(tmp_path / "a.tif").tolist() == bits.tolist()
    (tmp_path / "a.tif").write_bytes(little_tiff(bits, 1, 0))
    with pytest.raises(ValueError, match=r"a\.tif: .*0 where it is white .*save it as PNG"):
        read_labels(tmp_path / "a.tif")
    Image.fromarray(bits.astype(bool)).save(  # a mask that is well compressed
        tmp_path / "a.tif", compression="group4", tiffinfo={262: 0}
    )
    assert read_labels(tmp_path / "a.tif").tolist() == bits.tolist()


@pytest.mark.parametrize(
    ("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1.0)]
)
def test_pictures_whose_white_is_0_are_shown_as_they_are(tmp_path, dtype: type, white) -> None:
    values = np.array([[0, 0, white, white]], dtype)
    for photometric, expected in ((1, [0, 0, 255, 255]), (0, [255, 255, 0, 0])):
        bits, kind = 8 * values.itemsize, 3 if dtype is np.float32 else 1
        (tmp_path / "a.tif").write_bytes(little_tiff(values, bits, photometric, kind))
        assert read_image(tmp_path / "a.tif", "L")[..., 0].tolist() == [expected]


WHOLE = png(noise())
DAMAGED = {
    "empty": b"",
    "text": b"hello",
    "half": WHOLE[: len(WHOLE) // 2],
    "without its end": WHOLE[:-30],
    "a bit": WHOLE[:90] + bytes([WHOLE[90] ^ 4]) + WHOLE[91:],
    "second chunk": second_chunk_damaged(WHOLE),
    "14000x13000": header_of(14000, 13000),
    "a side of 0": header_of(0, 13),
    "2 ** 31 wide": header_of(2**31 - 1, 2**31 - 1),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("reader", READERS)
def test_damaged_files_are_refused(tmp_path, reader: str, damage: str) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(DAMAGED[damage])
    with pytest.raises(ValueError, match=r"a\.png: ") as caught:
        READERS[reader](str(file))
    assert "\n" not in str(caught.value)


def test_whole_files_are_read(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(WHOLE)
    assert np.array_equal(read_image(str(tmp_path / "a.png"), "L")[..., 0], noise())
    assert np.array_equal(read_labels(tmp_path / "a.png"), noise())
    assert np.array_equal(read_id_map(str(tmp_path / "a.png")), noise() * (1 + 256 + 256**2))


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(cut=st.integers(40, len(WHOLE)), at=st.integers(8, len(WHOLE) - 1), bits=st.integers(0, 255))
def test_bytes_that_pillow_refuses_are_refused(tmp_path, cut: int, at: int, bits: int) -> None:
    content = bytearray(WHOLE)
    content[at] ^= bits
    content = bytes(content[:cut])
    file = tmp_path / "fuzzed.png"
    file.write_bytes(content)
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            expected = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error, OverflowError):
        expected = None
    for reader in READERS.values():
        try:
            found = reader(str(file))
        except ValueError as error:
            named = "fuzzed.png" in str(error)
            assert named
            continue
        assert expected is not None or reader is read_id_map
        if reader is READERS["image"]:
            assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("pixels", "suffix", "expected"),
    [
        ((GREY * 257.0).astype(np.uint16), "png", GREY),
        ((GREY * 257.0).astype(np.uint16), "tif", GREY),
        (GREY.astype(np.uint16), "png", GREY),  # 8 bits in 16
        ((GREY * 257.0).astype(np.int32), "tif", GREY),
        ((GREY / 255).astype(np.float32), "tif", GREY),
        (GREY.astype(np.float32), "tif", GREY),
        (GREY, "png", GREY),
    ],
)
def test_grey_of_more_bits_is_scaled(tmp_path, pixels, suffix: str, expected) -> None:
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(file)
    assert np.array_equal(read_image(str(file), "RGB"), np.stack([expected] * 3, -1))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 300.0])
def test_grey_without_a_place_in_8_bits_is_refused(tmp_path, value: float) -> None:
    pixels = GREY.astype(np.float32)
    pixels[0, 0] = value
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableFileError, match=r"a\.tif: its grey values are"):
        read_image(str(tmp_path / "a.tif"), "RGB")


def oriented(file: Path, orientation: int) -> str:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GREY).save(file, exif=exif)
    return str(file)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_pictures_and_label_maps_once(tmp_path, suffix: str, orientation: int) -> None:
    file = oriented(tmp_path / f"a.{suffix}", orientation)
    quarter = np.rot90(GREY, {6: -1, 8: 1, 5: -1, 7: 1}.get(orientation, 0))
    turned = {
        2: GREY[:, ::-1],
        3: GREY[::-1, ::-1],
        4: GREY[::-1],
        5: GREY.T,
        7: GREY[::-1, ::-1].T,
        6: quarter,
        8: quarter,
    }.get(orientation, GREY)
    assert np.array_equal(read_image(file, "L")[..., 0], turned)
    assert np.array_equal(read_labels(file), turned)
    assert shown_size(file)[:2] == turned.shape


def test_special_files_do_not_hang(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "loop.png", "folder.png", f"{'a' * 300}.png", "absent.png"):
        for reader in READERS.values():
            with pytest.raises(ValueError, match=name):
                reader(str(tmp_path / name))


def test_a_picture_of_too_many_pixels_is_refused_by_its_header(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(WHOLE)
    with pytest.raises(ValueError, match=r"a\.png: it has 64x48 pixels .*more than 3000"):
        read_image(str(tmp_path / "a.png"), "RGB", max_pixels=3000)
    assert MAX_PIXELS < 14000 * 13000


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_the_first_page_of_many_is_read_and_said(
    tmp_path, caplog, monkeypatch, suffix: str
) -> None:
    monkeypatch.setattr("detectron2.utils.logger._LOG_COUNTER", Counter())  # as in a new process
    pages = [Image.fromarray(np.full((6, 8), value, np.uint8)) for value in (40, 90)]
    pages[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=pages[1:], lossless=True)
    pages[0].save(tmp_path / f"one.{suffix}", lossless=True)
    assert (read_image(str(tmp_path / f"one.{suffix}"), "L") == 40).all()
    assert not caplog.text
    for _ in range(2):
        assert (read_image(str(tmp_path / f"a.{suffix}"), "L") == 40).all()
    (record,) = caplog.records
    assert f"a.{suffix}' has several pages or frames: the first alone is read" in record.message
