"""Reading ``.npz`` files of weights, as JAX's models come, without trust in what they declare."""

import io
import math
import os
import zipfile
from typing import Any

import numpy as np
from numpy.lib import format as npy

_LARGEST_PER_BYTE = 8  # weights hardly compress; a "bomb" of zeros does, a thousandfold
_LARGEST_BESIDE = 16 << 20
_KINDS = "biufc"


def read_npz(path: str) -> dict[str, np.ndarray]:
    """{name: array of numbers} of a file of ``numpy.savez``; checksums are compared.

    Raises:
        ValueError, zipfile.BadZipFile and others: it is damaged, holds something else than numbers,
            or asks for more memory than a few times its size.
    """
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        limit = _LARGEST_PER_BYTE * os.path.getsize(path) + _LARGEST_BESIDE
        if sum(record.file_size for record in records) > limit:
            raise ValueError("it unpacks to much more memory than the file has bytes")
        for record in records:
            if record.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{record.filename} is compressed in an unusual way")
            with archive.open(record) as file:
                data = file.read(record.file_size)
            if len(data) < record.file_size:
                raise ValueError(f"{record.filename} is cut off")
            arrays[record.filename.removesuffix(".npy")] = _array(record.filename, data)
    return arrays


def _array(name: str, data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    version: Any = npy.read_magic(file)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"{name} is of version {version}")
    shape, in_columns, dtype = read_header[version](file)
    if dtype.kind not in _KINDS or dtype.hasobject or dtype.shape:
        raise ValueError(f"{name} is of type {dtype}, not of numbers")
    values = memoryview(data)[file.tell() :]
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{name} of shape {shape} has {len(values)} bytes")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if in_columns else "C")
