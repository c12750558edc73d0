"""Reading of images and labels from ``.npz`` and HDF5 files, in the layout of TransUNet's data
(Chen et al. 2021, section 4.1): the entries ``image`` and ``label``, of one slice or of a volume.

D slices of a volume, H, W the height and width of a slice.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from struct import error as StructError
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

from ...checkpoint.npz import check_unpacked, read_npz
from ...pictures import refuse_special_file

ENTRIES = ("image", "label")
SUFFIXES = (".npz", ".h5", ".hdf5")
_VOLUMES_PER_BYTE = 64  # labels compress a thousandfold, the image beside them a few times

_DAMAGES = (  # what damaged files raise
    *(OSError, KeyError, EOFError, ValueError, BadZipFile, ZlibError, StructError),
    RuntimeError,  # h5py for a damaged chunk; zipfile's NotImplementedError is one
)


class ArrayFileError(ValueError):
    """A file that cannot be read, or does not hold an image and its labels; it is named."""


def is_array_file(path: str) -> bool:
    return path.endswith(SUFFIXES)


def read_slice(path: str, index: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Image, float32 (H, W), and label, int64 (H, W), of a file with one slice, or of the slice
    ``index`` of a volume (D, H, W); of HDF5 only this slice is read.

    Raises:
        ArrayFileError: see the class.
        ImportError: the file is HDF5 and h5py is not installed.
    """
    return _read(path, 2, index)


def read_volume(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Image and label of a whole volume, (D, H, W) each; see :func:`read_slice`."""
    return _read(path, 3, None)


def volume_shape(path: str) -> tuple[int, int, int]:
    """(D, H, W), as :func:`read_volume` would give it."""
    with _open(path) as arrays:
        _check(path, arrays, 3)
        return tuple(arrays["image"].shape)


def _read(path: str, dims: int, index: int | None) -> tuple[np.ndarray, np.ndarray]:
    with _open(path) as arrays:
        _check(path, arrays, dims if index is None else dims + 1)
        part = () if index is None else index
        image, label = (np.asarray(arrays[entry][part]) for entry in ENTRIES)
    image = image.astype(np.float32)
    if not np.isfinite(image).all():
        raise ArrayFileError(f"{path}: 'image' has values that are not finite")
    whole = label.astype(np.int64)
    if not np.array_equal(whole, label):
        raise ArrayFileError(f"{path}: 'label' has values that are no whole numbers")
    return image, whole


@contextmanager
def _open(path: str) -> Iterator[Mapping]:
    opened = _open_npz if path.endswith(".npz") else _open_hdf5
    try:
        refuse_special_file(path)
        with opened(path) as arrays:
            yield arrays
    except (ArrayFileError, ImportError):
        raise
    except _DAMAGES as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ArrayFileError(f"{path} cannot be read: {reason}") from error


@contextmanager
def _open_npz(path: str) -> Iterator[Mapping]:
    with open(path, "rb") as file:
        if file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX:
            raise ArrayFileError(f"{path} holds one bare array; it needs {' and '.join(ENTRIES)}")
    yield read_npz(path, ENTRIES, _VOLUMES_PER_BYTE)


@contextmanager
def _open_hdf5(path: str) -> Iterator[Mapping]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path} is read with h5py: `pip install h5py` brings it") from error
    with h5py.File(path, "r") as file:
        yield file


def _check(path: str, arrays: Mapping, dims: int) -> None:
    """See that image and label are arrays of numbers of ``dims`` dimensions and one shape."""
    missing = [entry for entry in ENTRIES if entry not in arrays]
    if missing:
        raise ArrayFileError(f"{path} lacks {' and '.join(missing)}; it has {list(arrays)[:8]}")
    for entry in ENTRIES:
        node = arrays[entry]
        if isinstance(node, Mapping):
            _refuse_group(path, entry, node)
        if node.dtype.kind not in "biuf":
            raise ArrayFileError(
                f"{path}: '{entry}' is no array of numbers; slices that differ in size cannot make "
                "a volume, crop or pad them to one size"
            )
        # HDF5 makes up what is not stored; a header of some bytes could ask for all memory
        check_unpacked(node.size * node.dtype.itemsize, os.path.getsize(path), _VOLUMES_PER_BYTE)
    image, label = (tuple(arrays[entry].shape) for entry in ENTRIES)
    if image != label:
        raise ArrayFileError(f"{path}: 'image' has the shape {image}, 'label' {label}")
    if len(image) != dims or 0 in image:
        wanted = {2: "a slice (height, width)", 3: "a volume (slices, height, width)"}[dims]
        raise ArrayFileError(f"{path}: 'image' has the shape {image}, but {wanted} is needed")


def _refuse_group(path: str, entry: str, group: Mapping) -> None:
    shapes: dict[tuple[int, ...], str] = {}
    for name, node in group.items():
        shapes.setdefault(tuple(getattr(node, "shape", ())), name)
    if len(shapes) > 1:
        (one, first), (other, second), *_ = shapes.items()
        raise ArrayFileError(
            f"{path}: the slices of '{entry}' differ in size, {first} has {one}, {second} {other}; "
            "crop or pad them to one size"
        )
    raise ArrayFileError(f"{path}: '{entry}' is a group; stack it to one array (slices, h, w)")
