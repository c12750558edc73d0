"""Archives, headers and lists of files that lie about what is where, for ``hostile_files``."""

import copy
import io
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Iterator

Case = tuple[str, str, bytes]  # name, ending, bytes


def archives(records: dict[str, bytes], npy: bytes) -> Iterator[Case]:
    """
    Args:
        records: of a good torch archive, with its tensor in "a/data/0".
        npy: a good array.
    """
    good = _zip(records)
    order = _zip({**records, "a/byteorder": b"little"})
    yield "byte order of 2 GiB", ".pth", _with_size(order, b"a/byteorder", 2**31 - 1)
    yield "pickle of 2 GiB", ".pth", _with_size(good, b"a/data.pkl", 2**31 - 1)
    for name, value in (("big", b"big"), ("no", b""), ("long", b"little\n")):
        yield f"{name} byte order", ".pth", _zip({**records, "a/byteorder": value})
    yield "two pickles", ".pth", _zip({**records, "b/data.pkl": b"}."})
    yield "pickle without folder", ".pth", _zip({"data.pkl": b"}."})
    yield (
        "folder of 60,000 letters",
        ".pth",
        _zip({"x" * 60_000 + "/data.pkl": records["a/data.pkl"]}),
    )
    yield "encrypted", ".pth", _with_flag(good)
    yield "encrypted npz", ".npz", _with_flag(_zip({"w.npy": npy}))
    yield "one name twice", ".pth", _zip(records, again="a/data/0")
    yield "overlapping records", ".npz", _overlapping()
    yield "end in the comment", ".pth", good[:-2] + b"\x16\0PK\5\6" + bytes(18)
    yield "end alone", ".pth", b"PK\5\6" + bytes(18)
    yield "program", ".pth", _zip({**records, "a/constants.pkl": b"."})
    yield "npz name of lines", ".npz", _zip({"w\nx\x1b[2J.npy": b"abc"})
    yield "npz of empty records", ".npz", _zip({f"{k:06d}.npy": b"" for k in range(100_000)})
    yield "may load: two arrays of one name", ".npz", _zip({"w.npy": npy}, again="w.npy")
    yield "may load: dotted folder", ".pth", _zip({f"../{k[2:]}": v for k, v in records.items()})
    yield "may load: zip64 throughout", ".pth", _zip64(records)
    yield "may load: data descriptors", ".pth", _streamed(records)
    yield "may load: links", ".pth", _zip(records, attributes=0o120777 << 16)
    yield "may load: stub in front", ".pth", b"PK" + bytes(5000) + good
    empty = ",".join(
        f'"{k}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for k in range(300_000)
    )
    for name, header in {
        "300,000 empty tensors": f"{{{empty}}}",
        "long type": '{"a":{"dtype":"' + "x" * 100_000 + '","shape":[4],"data_offsets":[0,4]}}',
        "name of lines": '{"a\\nb":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        "overflow": f'{{"a":{{"dtype":"F32","shape":[{2**64 - 1},{2**64 - 1}],"data_offsets":[0,4]}}}}',
        "four bits": '{"a":{"dtype":"F4","shape":[8],"data_offsets":[0,4]}}',
        "metadata alone": '{"__metadata__":{"a":"b"}}',
    }.items():
        data = struct.pack("<Q", len(header)) + header.encode() + bytes(4)
        yield f"safetensors: {name}", ".safetensors", data
    for name, shard in {
        "lines": "x\ny.bin",
        "escapes": "\x1b[31m",
        "zeros": "x\0.bin",
        "half a character": "\ud800.bin",
        "length": "y" * 100_000,
        "dots": "..",
        "nothing": "",
        "a list in capitals": "hostile.INDEX.JSON",
    }.items():
        yield f"index of {name}", ".index.json", json.dumps({"weight_map": {"a": shard}}).encode()
    for content in (
        '{"weight_map":["a"]}',
        '{"weight_map":{}}',
        "{}",
        '{"weight_map":' + "9" * 10_000,
    ):
        yield f"index {content[:18]}", ".index.json", content.encode()


def _zip(records: dict[str, bytes], again: str = "", attributes: int = 0) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")  # of a name that is there already
        for name in (*records, *([again] if again else ())):
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes
            archive.writestr(info, records[name])
    return file.getvalue()


def _zip64(records: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in records.items():
            with archive.open(name, "w", force_zip64=True) as record:
                record.write(data)
    return file.getvalue()


class _Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError

    def seek(self, *args: int) -> int:
        raise OSError


def _streamed(records: dict[str, bytes]) -> bytes:
    """Sizes and checksums stand behind the records."""
    file = _Pipe()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    return file.getvalue()


def _overlapping() -> bytes:
    """300 arrays of 1 MiB, all at one place."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (262144,)}\n"
    npy = b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + os.urandom(1 << 20)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("000.npy", npy)
        for number in range(1, 300):
            record = copy.copy(archive.filelist[0])
            record.filename = record.orig_filename = f"{number:03d}.npy"
            archive.filelist.append(record)
            archive.NameToInfo[record.filename] = record
    return file.getvalue()


def _with_size(data: bytes, name: bytes, size: int) -> bytes:
    """Another size in the directory."""
    at = data.rindex(name) - 46
    return data[: at + 20] + struct.pack("<II", size, size) + data[at + 28 :]


def _with_flag(data: bytes) -> bytes:
    """The directory says that all records are encrypted."""
    changed, at = bytearray(data), data.find(b"PK\1\2")
    while at >= 0:
        changed[at + 8] |= 1
        at = data.find(b"PK\1\2", at + 4)
    return bytes(changed)
