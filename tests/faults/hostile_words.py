"""Values of pickles that are made to be shown, compared or copied: towers of tuples whose text has
no end, names of a megabyte or of several lines, tensors of types that are no plain numbers."""

import struct

from .hostile_pickles import EMPTY

_TOWER = b"N" + 60 * b"2\x86"  # each tuple holds the one below it twice
_LONG = b"X" + struct.pack("<I", 300_000) + b"k" * 300_000
_LINES = b"\x8c\x06a\n\x1b[2J"


def _stored(kind: bytes, key: bytes = b"U\x010", count: bytes = b"K\x02") -> bytes:
    return b"(U\x07storagectorch\n" + kind + b"Storage\n" + key + b"U\x03cpu" + count + b"tQ"


def _tensor(key: bytes) -> bytes:
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + _stored(b"Float", key)
        + (b"K\x00(K\x02t(K\x01tI00\nNtR")
    )


def _typed(dtype: bytes) -> bytes:
    return (
        b"ctorch._utils\n_rebuild_tensor_v3\n("
        + b"(U\x07storagectorch.storage\nUntypedStorage\nU\x010U\x03cpuK\x08tQ"
        + b"K\x00(K\x01t(K\x01tI00\nNctorch\n"
        + dtype
        + b"\ntR"
    )


WORDS = {
    "type that is a tower": b"cnumpy\ndtype\n(" + _TOWER + b"I00\nI01\ntR",
    "type that is a namespace": b"cnumpy\ndtype\n(cargparse\nNamespace\n)RI00\nI01\ntR",
    "persistent tower": b"(" + _TOWER + b"NNNNtQ",
    "persistent tower alone": _TOWER + b"Q",
    "key of a storage that is a tower": _stored(b"Float", _TOWER),
    "name that is a tower": _TOWER + b"U\x01a\x93",
    "size that is a tower": b"ctorch\nSize\n(" + _TOWER + b"tR",
    "state that is a tower": b"ccollections\nOrderedDict\n)R" + _TOWER + b"b",
    "metadata that is a tower": b"ccollections\nOrderedDict\n)R}U\x09_metadata}U\x01a"
    + _TOWER
    + b"ssb",
    "attribute that is a tower": b"cargparse\nNamespace\n)R}U\x01a" + _TOWER + b"sb",
    "long name": b"c" + b"a" * 300_000 + b"\nb\n",
    "name of lines": _LINES + _LINES + b"\x93",
    "long record": _tensor(_LONG),
    "record of lines": _tensor(_LINES),
    "long device": b"ctorch\ndevice\n(" + _LONG + b"tR",
    "device of lines": b"ctorch\ndevice\n(" + _LINES + b"tR",
    "deep ordered dicts": b"N" + 30_000 * b"p0\n0ccollections\nOrderedDict\n(](U\x01ag0\nteatR",
    "deep namespaces": 30_000 * b"cargparse\nNamespace\n)R}U\x01a" + b"N" + 30_000 * b"sb",
    "one array under many names": EMPTY
    + b"p1\n0}("
    + b"".join(b"X\x06\x00\x00\x00%06dg1\n" % k for k in range(40_000))
    + b"u",
    "bytes again and again": b"X"
    + struct.pack("<I", 100_000)
    + b"k" * 100_000
    + b"p0\n0]("
    + 4000 * b"c_codecs\nencode\n(g0\nU\x06latin1tR"
    + b"e",
    **{
        f"tensor of {dtype}": _typed(dtype.encode())
        for dtype in ("quint8", "qint32", "quint4x2", "bits8", "bits16", "int1", "uint7")
    },
}
