"""Values of pickles that were made to do harm: kinds, and their relatives, see ``hostile_files``.

Each is a run of opcodes that leaves one value: code to be called, arrays that lie about their
memory, structures without end.
"""

import struct

MADE = "hostile_was_here"  # a folder that no case may make

CODE = {
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
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"


def size_of(count: int) -> bytes:
    raw = count.to_bytes(9, "little", signed=True)
    return b"\x8a\x09" + raw


def _array(shape: bytes, dtype: bytes, data: bytes, version: bytes = b"K\x01") -> bytes:
    return EMPTY + b"(" + version + shape + dtype + b"I00\n" + data + b"tb"


_POINTER = struct.pack("<Q", 0x4141414141414141)
ARRAYS = {
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
    "huge shape": _array(b"(" + size_of(2**40) + b"t", _F4, b"C\x04abcd"),
    "negative shape": _array(b"(J\xff\xff\xff\xfft", _F4, b"C\x04abcd"),
    "overflowing shape": _array(b"(" + 4 * size_of(2**32) + b"t", _F4, b"C\x04abcd"),
    "many dimensions": _array(b"(" + 500 * b"K\x01" + b"t", _F4, b"C\x04abcd"),
    "too few bytes": _array(b"(K\x09t", _F4, b"C\x04abcd"),
    "shape of lists": _array(b"(](K\x01et", _F4, b"C\x04abcd"),
    "state of text": EMPTY + b"U\x01ab",
    "state of three": EMPTY + b"(K\x01(K\x01t" + _F4 + b"tb",
    "other class": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(K\x00tU\x01btR",
    "huge empty": b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n("
    + size_of(2**40)
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
        ARRAYS[f"{_spec.decode()} with {_name} flags"] = _array(
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
    ARRAYS[f"type {_spec.decode()}"] = _array(b"(K\x01t", _dtype(_spec), b"C\x08" + _POINTER)
for _field in (b"U\x01|(U\x01aK\x08tNJ", b"N(U\x01aU\x01btNJ"):
    ARRAYS[f"fields {_field!r}"] = _array(
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
    ARRAYS[f"item size {_sizes!r}"] = _array(b"(K\x01t", _dtype(b"f8", _state), b"C\x08" + _POINTER)

ENDLESS = {
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

_PLACES = 2**17  # of a dict for the keys below, each of which looks at the places of all before it
_CHAIN = [1]
while len(_CHAIN) < 60_000:
    _CHAIN.append((5 * _CHAIN[-1] + 1) % _PLACES)
_FLOOD = b"".join(b"J" + struct.pack("<i", key) + b"N" for key in _CHAIN) + b"".join(
    b"J" + struct.pack("<i", 1 + _PLACES * k) + b"N" for k in range(1, 12_000)
)
_FLOAT_FLOOD = b"".join(b"G" + struct.pack(">d", key) + b"N" for key in _CHAIN)
ENDLESS |= {
    "keys of one place": b"}(" + _FLOOD + b"u",
    "set of one place": b"\x8f(" + _FLOOD.replace(b"N", b"") + b"\x90",
    "frozenset of one place": b"cbuiltins\nfrozenset\n(](" + _FLOOD + b"etR",
    "ordered by one place": b"ccollections\nOrderedDict\n(]("
    + 30_000 * b"J\x01\x00\x00\x00N\x86"
    + b"etR",
    "floats as keys": b"}(" + _FLOAT_FLOOD + b"u",
    "many sets": 400_000 * b"\x8f",
    "many dicts": 3_000_000 * b"}",
    "many tuples": b"N" + 3_000_000 * b"\x85",
    "many frozensets": 400_000 * b"(\x91",
    "many floats": 1_000_000 * (b"G" + bytes(8)),
    "index far away": b"N" + b"r\xff\xff\x00\x00" + b"j\xff\xff\x00\x00",
    "index that grows": b"N" + b"".join(b"r" + struct.pack("<I", 500 * k) for k in range(5000)),
    "index below zero": b"Ng-5\n",
    "index of digits": b"Np" + 200_000 * b"1" + b"\n",
    "gap in the numbers": b"Nq\x05h\x03",
    "long integer of digits": b"L" + 1_000_000 * b"7" + b"L\n",
    "text that is a program": b"S'a'" + 60_000 * b"-" + b"'b'\n",
    "text of brackets": b"S'" + b"'+" + 60_000 * b"(" + b"'\n",
    "text that ends in a backslash": b"S'abc\\'\n",
    "half an escape": b"S'\\x4'\n",
    "half a unicode escape": b"V\\u12\n",
    "state of an ordered dict": b"ccollections\nOrderedDict\n)R}U\x09_metadata}ccollections\nOrderedDict\n)Rssb",
    "namespace in itself": b"cargparse\nNamespace\n)Rq\x00}U\x01ah\x00sb",
}
