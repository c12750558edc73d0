"""Checkpoints that were made to do harm, each of a few hundred bytes: kinds, and their relatives.

``CASES`` is {name: (ending of the file, its bytes)}. None of them may run anything, crash the
process, take more memory than a few times its size, or go on for longer than some seconds.
"""

import io
import itertools
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

Case = tuple[str, str, bytes]  # name, ending, bytes
MADE = "hostile_was_here"  # a folder that no case may make

_CODE = {
    "os.mkdir": b"cos\nmkdir\n(U\x10" + MADE.encode() + b"tR",
    "posix.mkdir": b"cposix\nmkdir\n(U\x10" + MADE.encode() + b"tR",
    "eval": b"cbuiltins\neval\n(X\x1f\x00\x00\x00__import__('os').mkdir('x_here')tR",
    "exec": b"c__builtin__\nexec\n(U\x01atR",
    "getattr": b"c__builtin__\ngetattr\n(cos\nmkdir\nU\x08__call__tR",
    "instance": b"(U\x10" + MADE.encode() + b"ios\nmkdir\n",
    "object": b"(cos\nmkdir\nU\x10" + MADE.encode() + b"o",
    "stack global": b"\x8c\x02os\x8c\x05mkdir\x93\x8c\x10" + MADE.encode() + b"\x85R",
    "dotted": b"\x8c\x05torch\x8c\x0fserialization.os\x93",
    "new": b"cos\nmkdir\n(U\x10" + MADE.encode() + b"t\x81",
    "new_ex": b"cos\nmkdir\n(U\x10" + MADE.encode() + b"t}\x92",
    "extension": b"\x82\x01",
    "extension 2": b"\x83\x01\x00",
    "extension 4": b"\x84\x01\x00\x00\x00",
    "torch.load": b"ctorch\nload\n(U\x01atR",
    "torch.hub": b"ctorch.hub\nload\n(U\x01atR",
    "numpy.load": b"cnumpy\nload\n(U\x01atR",
    "numpy.memmap": b"cnumpy\nmemmap\n(U\x01atR",
    "numpy.fromfile": b"cnumpy\nfromfile\n(U\x01atR",
    "numpy.ctypeslib": b"cnumpy.ctypeslib\nas_array\n(U\x01atR",
    "ctypes": b"cctypes\nstring_at\n(K\x01tR",
    "functools.partial": b"cfunctools\npartial\n(cos\nmkdir\ntR",
    "operator": b"coperator\nattrgetter\n(U\x01atR",
    "importlib": b"cimportlib\nimport_module\n(U\x02ostR",
    "copyreg": b"ccopyreg\n_reconstructor\n(cos\nmkdir\ncbuiltins\nobject\nNtR",
    "codecs file": b"c_codecs\nopen\n(U\x01atR",
    "codecs rot": b"c_codecs\nencode\n(U\x01aU\x03hextR",
    "codecs zip": b"c_codecs\nencode\n(U\x01aU\x04zlibtR",
    "type": b"c__builtin__\ntype\n(U\x01a)}tR",
    "range": b"cbuiltins\nrange\n(J\xff\xff\xff\x7ftR",
    "bytes of size": b"cbuiltins\nbytes\n(J\xff\xff\xff\x7ftR",
    "bytearray of size": b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR",
    "list of a range": b"cbuiltins\nlist\n(cbuiltins\nrange\n(J\xff\xff\xff\x7ftRtR",
    "set of a range": b"cbuiltins\nset\n(cbuiltins\nrange\n(J\xff\xff\xff\x7ftRtR",
}
_DTYPE = b"cnumpy\ndtype\n(U\x02%sI00\nI01\ntR"


def _dtype(spec: bytes, state: bytes = b"") -> bytes:
    return b"cnumpy\ndtype\n(U" + bytes([len(spec)]) + spec + b"I00\nI01\ntR" + state


_F4 = _dtype(b"f4", b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
_EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"


def _size(count: int) -> bytes:
    raw = count.to_bytes(9, "little", signed=True)
    return b"\x8a\x09" + raw


def _array(shape: bytes, dtype: bytes, data: bytes, version: bytes = b"K\x01") -> bytes:
    return _EMPTY + b"(" + version + shape + dtype + b"I00\n" + data + b"tb"


_POINTER = struct.pack("<Q", 0x4141414141414141)
_ARRAYS = {
    "ndarray over a buffer": b"cnumpy\nndarray\n((K\x01t"
    + _dtype(b"O8")
    + b"C\x08"
    + _POINTER
    + b"tR",
    "ndarray of floats": b"cnumpy\nndarray\n((K\x02t" + _F4 + b"C\x08" + _POINTER + b"tR",
    "new ndarray": b"cnumpy\nndarray\n((K\x01t" + _dtype(b"O8") + b"t\x81",
    "frombuffer of objects": b"cnumpy.core.numeric\n_frombuffer\n(C\x08"
    + _POINTER
    + _dtype(b"O8")
    + b"(K\x01tU\x01CtR",
    "objects": _array(b"(K\x01t", _dtype(b"O8"), b"]Na"),
    "objects of bytes": _array(b"(K\x01t", _dtype(b"O8"), b"C\x08" + _POINTER),
    "huge shape": _array(b"(" + _size(2**40) + b"t", _F4, b"C\x04abcd"),
    "negative shape": _array(b"(J\xff\xff\xff\xfft", _F4, b"C\x04abcd"),
    "overflowing shape": _array(b"(" + 4 * _size(2**32) + b"t", _F4, b"C\x04abcd"),
    "many dimensions": _array(b"(" + 500 * b"K\x01" + b"t", _F4, b"C\x04abcd"),
    "too few bytes": _array(b"(K\x09t", _F4, b"C\x04abcd"),
    "shape of lists": _array(b"(](K\x01et", _F4, b"C\x04abcd"),
    "state of text": _EMPTY + b"U\x01ab",
    "state of three": _EMPTY + b"(K\x01(K\x01t" + _F4 + b"tb",
    "other class": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(K\x00tU\x01btR",
    "huge empty": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n("
    + _size(2**40)
    + b"tU\x01dtR",
    "scalar of objects": b"cnumpy.core.multiarray\nscalar\n("
    + _dtype(b"O8")
    + b"C\x08"
    + _POINTER
    + b"tR",
    "scalar of few bytes": b"cnumpy.core.multiarray\nscalar\n(" + _dtype(b"c16") + b"C\x01atR",
}
for _flags, _name in (
    (0, "no"),
    (63, "all"),
    (27, "object's"),
    (1, "refcount's"),
    (16, "get item's"),
):
    _state = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK" + bytes([_flags]) + b"tb"
    for _spec in (b"O8", b"f8", b"V8", b"M8", b"i8"):
        _ARRAYS[f"{_spec.decode()} with {_name} flags"] = _array(
            b"(K\x01t", _dtype(_spec, _state), b"C\x08" + _POINTER
        )
for _spec in (
    b"O",
    b"|O8",
    b"f4,O8",
    b"(2,)O",
    b"V99999999",
    b"S2000000000",
    b"f5",
    b"m8",
    b"M8[s]",
):
    _ARRAYS[f"type {_spec.decode()}"] = _array(b"(K\x01t", _dtype(_spec), b"C\x08" + _POINTER)
for _field in (b"U\x01|(U\x01aK\x08tNJ", b"N(U\x01aU\x01btNJ"):
    _ARRAYS[f"fields {_field!r}"] = _array(
        b"(K\x01t",
        _dtype(b"V8", b"(K\x03U\x01|" + _field + b"\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"),
        b"C\x08" + _POINTER,
    )
for _sizes in (
    b"J\x00\x00\x00\x7fK\x01",
    b"K\x00K\x00",
    b"J\xff\xff\xff\xffK\x01",
    b"K\x01J\x00\x00\x00\x7f",
):
    _state = b"(K\x03U\x01<NNN" + _sizes + b"K\x00tb"
    _ARRAYS[f"item size {_sizes!r}"] = _array(
        b"(K\x01t", _dtype(b"f8", _state), b"C\x08" + _POINTER
    )

_ENDLESS = {
    "long index": b"]r\xff\xff\xff\x7f.",
    "long index of four": b"]r\xff\xff\xff\xff",
    "text index": b"]p99999999999999999999999999\n",
    "frame": b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    "bytes without end": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fa",
    "text without end": b"X\xff\xff\xff\xffa",
    "bytearray without end": b"\x96\xff\xff\xff\xff\xff\xff\xff\x7fa",
    "integer without end": b"\x8b\xff\xff\xff\x7fa",
    "integer of digits": b"I" + 100_000 * b"9" + b"\n",
    "many marks": 200_000 * b"(",
    "many lists": 200_000 * b"]",
    "deep lists": 100_000 * b"]" + 99_999 * b"a",
    "deep tuples": b"N" + 100_000 * b"\x85",
    "doubled tuples": b"N" + 100 * b"2\x86",
    "hash of doubled tuples": b"}N" + 60 * b"2\x86" + b"Ns",
    "set of doubled tuples": b"\x8f(N" + 60 * b"2\x86" + b"\x90",
    "frozenset of doubled tuples": b"(N" + 60 * b"2\x86" + b"\x91",
    "ordered by doubled tuples": b"ccollections\nOrderedDict\n(](N" + 60 * b"2\x86" + b"NteatR",
    "list in itself": b"]q\x00h\x00a",
    "dict in itself": b"}q\x00U\x01ah\x00s",
    "integers of one hash": b"}("
    + b"".join(
        b"\x8a\x14" + (k * (2**61 - 1)).to_bytes(20, "little") + b"N"
        for k in range(2**90, 2**90 + 4000)
    )
    + b"u",
    "indices of one hash": b"N" + b"".join(b"p%d\n" % (k * (2**61 - 1)) for k in range(9, 4000)),
    "counter of text": b"ccollections\nCounter\n(U\x03abctR",
    "tensor as a key": b"}ctorch\nTensor\n)Rs",
    "only a stop": b"",
    "no stop": b"\x80\x02",
    "memo that is none": b"h\x07",
    "pop of nothing": b"0",
    "append to nothing": b"a",
    "build of nothing": b"b",
    "call of text": b"U\x01a)R",
    "call of a list": b"])R",
    "call without tuple": b"ccollections\nOrderedDict\n]R",
    "build of a class": b"ccollections\nOrderedDict\n}b",
    "persistent text": b"Pabc\n",
    "persistent of nothing": b"NQ",
    "next buffer": b"\x97",
    "read-only buffer": b"N\x98",
}


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


_HUGE, _MINUS = _size(2**45), b"J\xff\xff\xff\xff"
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
    "from numpy": b"ctorch._utils\n_rebuild_device_tensor_from_numpy\n(" + _EMPTY
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
            _torch_zip(_tensor(_storage(count=_size(len(small) // 4))), small, compression=method),
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
    yield "text names", ".pkl", pickle.dumps({7: np.ones(3)})


def _safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(4)


def _all() -> Iterator[Case]:
    for (name, code), form in itertools.product(
        {**_CODE, **_ARRAYS, **_ENDLESS}.items(), ("pkl", "pth")
    ):
        if form == "pkl":
            yield name, ".pkl", _in_dict(code)
        else:
            yield f"{name}, in a torch zip", ".pth", _torch_zip(code)
    for name, code in _TENSORS.items():
        yield f"tensor: {name}", ".pth", _torch_zip(code)
    yield from _bombs()


CASES: dict[str, tuple[str, bytes]] = {name: (ending, data) for name, ending, data in _all()}


def written(cases: dict[str, tuple[str, bytes]], folder: Path) -> list[tuple[str, Path]]:
    """(name, path) of each case, written to a folder of its own."""
    paths = []
    for number, (name, (ending, data)) in enumerate(cases.items()):
        path = folder / str(number) / f"hostile{ending}"
        path.parent.mkdir()
        path.write_bytes(data)
        paths.append((name, path))
    return paths
