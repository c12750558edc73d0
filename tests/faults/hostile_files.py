"""Checkpoints that were made to do harm, each of a few hundred bytes: kinds, and their relatives.

``all_cases`` gives {name: (ending of the file, its bytes)}. None of them may run anything, crash the
process, take more memory than a few times its size, or go on for longer than some seconds.
"""

import functools
import io
import itertools
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from .hostile_archives import archives
from .hostile_pickles import ARRAYS, CODE, EMPTY, ENDLESS, MADE, size_of
from .hostile_words import WORDS

Case = tuple[str, str, bytes]  # name, ending, bytes


def _in_dict(value: bytes) -> bytes:
    return b"\x80\x02}U\x05model}U\x01w" + value + b"ss."


def zip_of(records: dict[str, bytes], **kwargs: object) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **kwargs) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    return file.getvalue()


def _torch_zip(value: bytes, data: bytes = bytes(8), **kwargs: object) -> bytes:
    return zip_of({"a/data.pkl": _in_dict(value), "a/data/0": data, "a/version": b"3"}, **kwargs)


def _storage(
    count: bytes = b"K\x02", kind: bytes = b"ctorch\nFloatStorage\n", key: bytes = b"U\x010"
) -> bytes:
    return b"(U\x07storage" + kind + key + b"U\x03cpu" + count + b"tQ"


def _tensor(
    storage: bytes, offset: bytes = b"K\x00", size: bytes = b"(K\x02t", stride: bytes = b"(K\x01t"
) -> bytes:
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + offset + size + stride + b"I00\nNtR"


_HUGE, _MINUS = size_of(2**45), b"J\xff\xff\xff\xff"
_TENSORS = {
    "huge size": _tensor(_storage(), size=b"(" + _HUGE + b"t"),
    "huge size without stride": _tensor(_storage(), size=b"(" + _HUGE + b"t", stride=b"(K\x00t"),
    "huge stride": _tensor(_storage(), stride=b"(" + _HUGE + b"t"),
    "huge offset": _tensor(_storage(), offset=_HUGE),
    "negative size": _tensor(_storage(), size=b"(" + _MINUS + b"t"),
    "negative stride": _tensor(_storage(), stride=b"(" + _MINUS + b"t"),
    "negative offset": _tensor(_storage(), offset=_MINUS),
    "overflow": _tensor(_storage(), size=b"(" + 4 * _HUGE + b"t", stride=b"(K\x00K\x00K\x00K\x00t"),
    "one more": _tensor(_storage(), size=b"(K\x03t"),
    "strides missing": _tensor(_storage(), stride=b"(t"),
    "size of text": _tensor(_storage(), size=b"U\x01a"),
    "storage of nothing": _tensor(b"N"),
    "storage of text": _tensor(b"U\x01a"),
    "storage of another size": _tensor(_storage(count=b"K\x09"), size=b"(K\x09t"),
    "huge storage": _tensor(_storage(count=_HUGE)),
    "negative storage": _tensor(_storage(count=_MINUS)),
    "missing storage": _tensor(_storage(key=b"U\x017")),
    "storage elsewhere": _tensor(_storage(key=b"U\x0b../../../etc")),
    "storage of objects": _tensor(_storage(kind=b"cnumpy\nndarray\n")),
    "storage of code": _tensor(_storage(kind=b"cos\nsystem\n")),
    "parameter of nothing": b"ctorch._utils\n_rebuild_parameter\n(NI01\nNtR",
    "tensor with code": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nmkdir\nctorch\nTensor\n(U\x10"
    + MADE.encode() + b"tNtR",
    "sparse": b"ctorch._utils\n_rebuild_sparse_tensor\n(NNtR",
    "nested": b"ctorch._utils\n_rebuild_nested_tensor\n(NNNNtR",
    "quantized": b"ctorch._utils\n_rebuild_qtensor\n(NNNNNNNtR",
    "meta": b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n(ctorch\nfloat32\n(" + _HUGE + b"t(K\x01tI00\ntR",
    "wrapper": b"ctorch._utils\n_rebuild_wrapper_subclass\n(NNNNNNNtR",
    "from numpy": b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n(" + EMPTY
    + b"ctorch\nfloat32\nU\x03cpuI00\ntR",
    "size of sizes": b"ctorch\nSize\n((" + _HUGE + b"ttR",
    "device": b"ctorch\ndevice\n(U\x03abctR",
    "tensor called": b"ctorch\nTensor\n(" + _HUGE + b"tR",
    "parameter called": b"ctorch.nn.parameter\nParameter\n(NtR",
    "state of a tensor": _tensor(_storage()) + b"(NNNNtb",
}  # fmt: skip


def _bombs() -> Iterator[Case]:
    zeros = bytes(32 << 20)
    deflated = {"compression": zipfile.ZIP_DEFLATED}
    for name, method in (("deflated", 8), ("bzip2", 12), ("lzma", 14)):
        small = bytes(1 << 20) if method != 8 else zeros
        packed = zip_of({"w.npy": small}, compression=method)
        yield f"npz {name}", ".npz", packed
        yield (
            f"torch zip {name}",
            ".pth",
            _torch_zip(
                _tensor(_storage(count=size_of(len(small) // 4))), small, compression=method
            ),
        )
    yield "torch zip deflated, small", ".pth", _torch_zip(_tensor(_storage()), **deflated)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)}
    )
    yield "npz of huge shape", ".npz", zip_of({"w.npy": header.getvalue() + b"abcd"})
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|O", "fortran_order": False, "shape": (1,)}
    )
    yield "npz of objects", ".npz", zip_of({"w.npy": header.getvalue() + pickle.dumps([1])})
    one = zip_of({"a/data.pkl": _in_dict(_tensor(_storage())), "a/data/0": bytes(8)})
    yield "zip cut", ".pth", one[:-30]
    for field, at in (("size", 24), ("packed size", 20), ("offset", 42), ("method", 10)):
        start = one.rindex(b"PK\x01\x02") + at
        yield (
            f"zip with another {field}",
            ".pth",
            one[:start]
            + b"\xff\xff\xff\x7f"[: 2 if field == "method" else 4]
            + one[start + (2 if field == "method" else 4) :],
        )
    inner = io.BytesIO()
    torch.save({"w": torch.ones(4)}, inner, _use_new_zipfile_serialization=False)
    old = inner.getvalue()
    tensors = b"ctorch.storage\n_load_from_bytes\n(X" + struct.pack("<I", 3) + b"abctR"
    yield "storage from no bytes", ".pkl", _in_dict(tensors)
    nested = b"N."
    for _ in range(200):
        nested = (
            b"\x80\x02ctorch.storage\n_load_from_bytes\n(B"
            + struct.pack("<I", len(nested))
            + nested
            + b"tR."
        )
    yield "storages in storages", ".pkl", nested
    for cut in (10, len(old) // 2, len(old) - 3):
        yield f"older form cut at {cut}", ".pth", old[:cut]
    yield (
        "older form of huge storage",
        ".pth",
        old.replace(b"K\x04", b"J\xff\xff\xff\x7f"[:2] + b"", 1),
    )
    many = b"".join(b"\x80\x02" + b"U\x01a" for _ in range(1000))
    yield "older form of many pickles", ".pth", many
    yield "safetensors of huge header", ".safetensors", struct.pack("<Q", 2**60) + b"{}"
    yield (
        "safetensors of huge tensor",
        ".safetensors",
        _safetensors(
            b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
        ),
    )
    yield (
        "safetensors of overlapping tensors",
        ".safetensors",
        _safetensors(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        ),
    )
    yield "safetensors of deep JSON", ".safetensors", _safetensors(b"[" * 100_000)
    yield "index of itself", ".index.json", b'{"weight_map": {"a": "hostile.index.json"}}'
    yield "index of a file elsewhere", ".index.json", b'{"weight_map": {"a": "../../etc/passwd"}}'
    yield "index of an absolute path", ".index.json", b'{"weight_map": {"a": "/etc/passwd"}}'
    yield "index of numbers", ".index.json", b'{"weight_map": {"a": 7}}'
    yield "index without end", ".index.json", b'{"weight_map": ' + b"[" * 100_000
    yield "empty zip", ".pth", zip_of({})
    yield from _directories(one)
    yield "text names", ".pkl", pickle.dumps({7: np.ones(3)})


def _directories(zip_file: bytes) -> Iterator[Case]:
    """Of 700,000 entries in 33 MB, which would become objects of 350 MB; with and without zip64."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", *(0,) * 6, 0, 0, 0, 1, *(0,) * 4, 0, 0) + b"a"
    directory = entry * 700_000
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 9, 9, len(directory), 0, 0)
    yield "zip of entries alone", ".pth", directory + end
    large = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 9, 9, len(directory), 0)
    large += struct.pack("<4sIQI", b"PK\6\7", 0, len(directory), 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 9, 9, 46, 0, 0)
    yield "zip64 of entries alone", ".npz", directory + large + end
    yield "zip with a comment", ".pth", zip_file[:-2] + struct.pack("<H", 60_000) + bytes(60_000)
    yield "zip behind other bytes", ".pth", bytes(1000) + zip_file
    yield "zip twice", ".pth", zip_file + zip_file
    yield (
        "zip of links",
        ".pth",
        zip_of({"a/data.pkl": b"}.", "../../a/data/0": b"", "/etc/x": b""}),
    )
    yield "npz of a path", ".npz", zip_of({"../../w.npy": _npy("<f4", (1,)) + bytes(4)})
    for shape in ((-1,), (2**62, 4), (0, 2**62), (2**31, 2**33), (True,), (1.5,)):
        yield f"npz of shape {shape}", ".npz", zip_of({"w.npy": _npy("<f4", shape) + bytes(4)})
    for dtype in ("<f4,<f4", "(3,)<f4", "<M8[s]", "V4", "<U1", "|b1", ">f8", "<c8", "nonsense"):
        yield f"npz of type {dtype}", ".npz", zip_of({"w.npy": _npy(dtype, (1,)) + bytes(4)})
    deep = b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000)
    for text in (b"(" * 9000, b"-" * 9000, b"[" * 9000, b"'" * 9000, b"{'descr':" * 1000):
        yield f"npz of header {text[:1]!r}", ".npz", zip_of({"w.npy": deep + text})
    long = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b" " * 100
    yield "npz of endless header", ".npz", zip_of({"w.npy": long})
    yield "npz of version 9", ".npz", zip_of({"w.npy": b"\x93NUMPY\x09\x00" + bytes(100)})


def _npy(dtype: str, shape: tuple) -> bytes:
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def _safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(4)


def _all() -> Iterator[Case]:
    for (name, code), form in itertools.product(
        {**CODE, **ARRAYS, **ENDLESS, **WORDS}.items(), ("pkl", "pth")
    ):
        if form == "pkl":
            yield name, ".pkl", _in_dict(code)
        else:
            yield f"{name}, in a torch zip", ".pth", _torch_zip(code)
    for name, code in _TENSORS.items():
        yield f"tensor: {name}", ".pth", _torch_zip(code)
    yield from _bombs()
    records = {"a/data.pkl": _in_dict(_tensor(_storage())), "a/data/0": bytes(8), "a/version": b"3"}
    yield from archives(records, _npy("<f4", (1,)) + bytes(4))


@functools.cache  # made where they are asked for: it takes seconds
def all_cases() -> dict[str, tuple[str, bytes]]:
    return {name: (ending, data) for name, ending, data in _all()}


def written(cases: dict[str, tuple[str, bytes]], folder: Path) -> list[tuple[str, Path]]:
    """(name, path) of each case, written to a folder of its own."""
    paths = []
    for number, (name, (ending, data)) in enumerate(cases.items()):
        path = folder / str(number) / f"hostile{ending}"
        path.parent.mkdir()
        path.write_bytes(data)
        paths.append((name, path))
    return paths


def kind_of(name: str) -> str:
    """The row of docs/reliability.md that a case belongs to."""
    bare = name.removesuffix(", in a torch zip")
    if bare in CODE:
        return "pickles that call code"
    if bare in ARRAYS:
        return "arrays and types that lie"
    if bare in ENDLESS:
        return "endless or broken structures"
    if bare in WORDS:
        return "towers, long names, odd types"
    return "tensors that lie" if name.startswith("tensor: ") else "archives, indices, safetensors"
