"""Pictures that claim more than they hold, made byte by byte, and whole ones in every format."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, (HEIGHT, WIDTH), dtype=np.uint8)


def saved(form: str, pixels: np.ndarray | None = None, **arguments: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise() if pixels is None else pixels).save(stream, form, **arguments)
    return stream.getvalue()


WHOLE: dict[str, bytes] = {
    "a.png": saved("PNG"),
    "a.bmp": saved("BMP"),
    "a.jpg": saved("JPEG"),
    "a.webp": saved("WEBP", lossless=True),
    "a.tif": saved("TIFF"),
    "lzw.tif": saved("TIFF", compression="tiff_lzw"),
    "deflate.tif": saved("TIFF", compression="tiff_adobe_deflate"),
    "sixteen.tif": saved("TIFF", noise().astype(np.uint16) * 900),
    "sixteen.png": saved("PNG", noise().astype(np.uint16) * 900),
    "float.tif": saved("TIFF", noise().astype(np.float32) / 4),
    "colour.png": saved("PNG", np.stack([noise() * 60] * 3, axis=-1)),
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, size: tuple[int, int] = (WIDTH, HEIGHT), bits: int = 8) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def pixels(size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    return chunk(b"IDAT", zlib.compress(bytes((size[0] + 1) * size[1])))


def tiff(*entries: tuple[int, int, int, int], tail: bytes = b"") -> bytes:
    """Little-endian, of entries (tag, type, count, value)."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", 0) + tail


def grey_tiff(width: int, height: int, offset: int = 150, count: int = 100) -> bytes:
    return tiff(
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1)),
        *((262, 3, 1, 1), (273, 4, 1, offset), (277, 3, 1, 1), (278, 4, 1, height)),
        (279, 4, 1, count),
        tail=bytes(100),
    )


def _jpeg_of(width: int, height: int) -> bytes:
    content = bytearray(WHOLE["a.jpg"])
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def _bmp_of(width: int, height: int) -> bytes:
    content = bytearray(WHOLE["a.bmp"])
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


def bomb() -> bytes:
    """100 MB of zeros, compressed."""
    stream = zlib.compressobj(1)
    return b"".join(stream.compress(bytes(10**6)) for _ in range(100)) + stream.flush()


# made when they are asked for; each is some kilobytes
CLAIMS: dict[str, Callable[[], bytes]] = {
    "png 14000x13000": lambda: png(pixels(), size=(14000, 13000)),
    "png 2 ** 31": lambda: png(pixels(), size=(2**31 - 1, 2**31 - 1)),
    "png 1 x 2 ** 31": lambda: png(pixels(), size=(1, 2**31 - 1)),
    "png without pixels": lambda: png(),
    "png of 9000x9000 with few pixels": lambda: png(pixels(), size=(9000, 9000)),
    "png with 100 MB of pixels": lambda: png(chunk(b"IDAT", bomb())),
    "png with 100 MB of text": lambda: png(chunk(b"zTXt", b"a\0\0" + bomb()), pixels()),
    "png with 100 MB of profile": lambda: png(chunk(b"iCCP", b"a\0\0" + bomb()), pixels()),
    "png chunk of 2 GB": lambda: png(struct.pack(">I", 2**31 - 1) + b"IDAT1234"),
    "png of 3 bits": lambda: png(pixels(), bits=3),
    "tiff 100000x100000": lambda: grey_tiff(100_000, 100_000),
    "tiff 0x0": lambda: grey_tiff(0, 0),
    "tiff of 12000x12000 with few pixels": lambda: grey_tiff(12_000, 12_000),
    "tiff strip beyond the end": lambda: grey_tiff(64, 48, offset=2**31),
    "tiff strip of 4 GB": lambda: grey_tiff(64, 48, count=2**32 - 1),
    "tiff tag of 4 GB": lambda: tiff((256, 4, 2**30, 8), (257, 4, 2**30, 8)),
    "tiff in a circle": lambda: b"II*\0" + struct.pack("<IHI", 8, 0, 8),
    "tiff without tags": lambda: tiff(),
    "jpeg 65500x65500": lambda: _jpeg_of(65500, 65500),
    "jpeg 9000x9000 with few pixels": lambda: _jpeg_of(9000, 9000),
    "jpeg 0x9": lambda: _jpeg_of(0, 9),
    "bmp 2 ** 31": lambda: _bmp_of(2**31 - 1, 2**31 - 1),
    "bmp of 9000x9000 with few pixels": lambda: _bmp_of(9000, 9000),
    "bmp -64x48": lambda: _bmp_of(-64, 48),
    "gif 65535x65535": lambda: b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\0;",
    "ppm 10 ** 9": lambda: b"P5 1000000000 1000000000 255\n123",
    "ppm without end": lambda: b"P5 " + b"1" * 100_000,
    "svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n",
}
