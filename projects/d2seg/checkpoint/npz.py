"""Reading ``.npz`` files, as JAX's models and slices of volumes come, without trust in what they
declare."""

import io
import math
import os
import zipfile
from collections.abc import Collection
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy

from .zip_directory import check_directory

WEIGHTS_PER_BYTE = 8  # they hardly compress; a "bomb" of zeros does, a thousandfold
_LARGEST_BESIDE = 16 << 20
_KINDS = "biufc"


def check_unpacked(num_bytes: int, size: int, per_byte: int) -> None:
    """Bound what a file of ``size`` bytes may unpack to.

    Raises:
        ValueError: ``num_bytes`` are more than ``per_byte`` times its size, and 16 MB beside.
    """
    if num_bytes > per_byte * size + _LARGEST_BESIDE:
        raise ValueError(
            f"it unpacks to {num_bytes >> 20} MiB, much more memory than its {size} bytes are for"
        )


def read_npz(
    path: str, names: Collection[str] = (), per_byte: int = WEIGHTS_PER_BYTE
) -> dict[str, np.ndarray]:
    """{name: array of numbers} of a file of ``numpy.savez``; checksums are compared.

    Args:
        names: read these alone, as far as they are there; empty: all.
        per_byte: of its size, to which the file may unpack; see :func:`check_unpacked`.

    Raises:
        ValueError, zipfile.BadZipFile and others: it is damaged, holds something else than numbers,
            or asks for more memory than a few times its size.
    """
    arrays: dict[str, np.ndarray] = {}
    with open(path, "rb") as file:
        check_directory(file)
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if names:
            records = [r for r in records if r.filename.removesuffix(".npy") in names]
        check_unpacked(sum(r.file_size for r in records), os.path.getsize(path), per_byte)
        for record in records:
            if record.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{record.filename} is compressed in an unusual way")
            with archive.open(record) as file:
                data = file.read(record.file_size)
            if len(data) < record.file_size:
                raise ValueError(f"{record.filename} is cut off")
            arrays[record.filename.removesuffix(".npy")] = read_npy(record.filename, data)
    return arrays


def read_npy(name: str, data: bytes) -> np.ndarray:
    """The array of numbers in the ``data`` of a file of ``numpy.save``, which ``name`` stands for.

    Raises:
        ValueError: it is damaged, or holds something else than numbers.
    """
    file = io.BytesIO(data)
    version: Any = npy.read_magic(file)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"{name} is of version {version}")
    try:
        shape, in_columns, dtype = read_header[version](file)
    except (SyntaxError, RecursionError, MemoryError, TokenError) as error:  # of Python's parser
        raise ValueError(f"{name} has a damaged header") from error
    if dtype.kind not in _KINDS or dtype.hasobject or dtype.shape:
        raise ValueError(f"{name} is no array of numbers, but of type {dtype}")
    values = memoryview(data)[file.tell() :]
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(values):
        raise ValueError(f"{name} of shape {shape} has {len(values)} bytes")
    return np.frombuffer(values, dtype).reshape(shape, order="F" if in_columns else "C")
