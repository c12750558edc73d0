"""Pickles of plain data: what Python 2 and 3 write is read, everything else refused by name."""

import os
import pickle
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from d2seg.checkpoint.pickles import UnsafePickleError
from d2seg.checkpoint.plain_pickles import load_plain_pickle

SHARED = ["dog"]
PLAIN = [
    {"a": [1, -1, 255, 256, 65536, -(2**31), 2**40, -(2**62), True, False, None], "é": "größer"},
    (1.5, -0.25, float("inf"), (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, (4,) * 5)),
    [SHARED, SHARED, {2: "x", None: "y", True: "z"}, "a" * 300, "line\nbreak\\u20ac", ""],
    list(range(1500)),
    {str(i): [i] * (i % 3) for i in range(1500)},
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", PLAIN, ids=range(len(PLAIN)))
def test_plain_values_of_every_protocol(value: Any, protocol: int) -> None:
    found = load_plain_pickle(pickle.dumps(value, protocol))
    assert found == value
    assert repr(found) == repr(value)  # 1 and True are equal


def test_what_is_shared_stays_shared() -> None:
    found = load_plain_pickle(pickle.dumps([SHARED, SHARED], 2))
    assert found[0] is found[1]


# {"sent": "it's", "ann_id": 41510L, "tokens": ["it", "'s"], "x": u"caf\xe9"} as Python 2 writes it
PYTHON_2 = {
    0: b"(dp0\nS'sent'\np1\nS\"it's\"\np2\nsS'ann_id'\np3\nL41510L\nsS'tokens'\np4\n(lp5\nS'it'\np6\na"
    b"S\"'s\"\np7\nasS'x'\np8\nVcaf\xe9\np9\ns.",
    1: b"}q\x00(U\x04sentq\x01U\x04it'sq\x02U\x06ann_idq\x03L41510L\nU\x06tokensq\x04]q\x05(U\x02it"
    b"q\x06U\x02'sq\x07eU\x01xq\x08X\x05\x00\x00\x00caf\xc3\xa9q\tu.",
    2: b"\x80\x02}q\x00(U\x04sentq\x01U\x04it'sq\x02U\x06ann_idq\x03\x8a\x03&\xa2\x00U\x06tokensq\x04"
    b"]q\x05(U\x02itq\x06U\x02'sq\x07eU\x01xq\x08X\x05\x00\x00\x00caf\xc3\xa9q\tu.",
}


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_byte_strings_of_python_2_are_text(protocol: int) -> None:
    assert load_plain_pickle(PYTHON_2[protocol]) == {
        "sent": "it's",
        "ann_id": 41510,
        "tokens": ["it", "'s"],
        "x": "café",
    }


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"S'caf\\xc3\\xa9'\n.", "café"),  # UTF-8
        (b"S'caf\\xe9'\n.", "café"),  # Latin 1
        (pickle.dumps("café".encode(), 3), "café"),
        (pickle.dumps({b"sent": b"dog"}, 4), {"sent": "dog"}),
    ],
)
def test_bytes_of_two_encodings(data: bytes, text: Any) -> None:
    assert load_plain_pickle(data) == text


def test_the_real_refs_file(shared_dir: Path) -> None:
    data = (shared_dir / "data" / "refer" / "refcocog" / "refs(google).p").read_bytes()
    assert load_plain_pickle(data) == pickle.loads(data)
    assert len(load_plain_pickle(data)) == 9


class Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_something_is_refused_by_name(protocol: int, tmp_path: Path) -> None:
    data = pickle.dumps([{"ref_id": 1}, Runs(tmp_path / "made")], protocol)
    with pytest.raises(UnsafePickleError, match=r"^(posix|nt)\.mkdir$"):
        load_plain_pickle(data)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"(S'touch x'\nios\nsystem\n.", r"os\.system"),
        (b"cos\nsystem\n(S'touch x'\ntR.", r"os\.system"),
        (pickle.dumps(OrderedDict(a=1), 2), r"collections\.OrderedDict"),
        (pickle.dumps(np.float64(1), 2), r"numpy\..*scalar"),
        (pickle.dumps({1, 2}, 2), r"builtin.*\.set"),
        (b"Pmodule\n.", "opcode PERSID"),
        (b"\x82\x01.", "opcode EXT1"),
        (b"N)\x81.", "opcode NEWOBJ"),
    ],
)
def test_other_names_and_opcodes_are_refused(data: bytes, name: str) -> None:
    with pytest.raises(UnsafePickleError, match=name) as caught:
        load_plain_pickle(data)
    assert "\n" not in str(caught.value)


def nested(depth: int, opcode: bytes) -> bytes:
    """A tuple of twice the same tuple, of twice the same, ... as the key of a dict."""
    return b"\x80\x02}(N" + opcode * depth + b"Nu."


DAMAGED = {
    "nothing": b"",
    "no end": b"\x80\x02]q\x00",
    "empty stack": b".",
    "mark as result": b"(.",
    "no mark": b"N\x85e.",
    "unknown opcode": b"\x80\x02\xff.",
    "text too short": b"X\xff\xff\xff\x7fabc.",
    "text of 2**63 bytes": b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.",
    "bytes of negative length": b"T\xff\xff\xff\xffabc.",
    "integer of 2 GB": b"\x8b\xff\xff\xff\x7fabc.",
    "integer of many bits": b"\x8b\x00\x01\x00\x00" + b"\x01" * 256 + b".",
    "integer of many digits": b"I" + b"9" * 100_000 + b"\n.",
    "no such number": b"j\xff\xff\xff\x7f.",
    "list as key": b"}]Ns.",
    "append to text": b"U\x01aNa.",
    "odd dict": b"(U\x01ad.",
    "text without quotes": b"Sabc\n.",
    "text with code": b"S'a' + str(1)\n.",
    "mark as a value": b"](a.",
    "set items without value": b"}U\x01as.",
    "hash of nested tuples": nested(60, b"2\x86"),
    "deep tuple as key": nested(1_000_000, b"\x85"),
    "bytearray of 2**60 bytes": b"\x96" + (2**60).to_bytes(8, "little") + b".",
    "an empty set": b"\x8f.",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_one_line_and_costs_neither_time_nor_memory(name: str) -> None:
    start = time.process_time()  # other work on the machine does not count
    with pytest.raises(pickle.UnpicklingError) as caught:
        load_plain_pickle(DAMAGED[name])
    assert time.process_time() - start < 5
    assert str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_huge_index_costs_nothing() -> None:
    """C's unpickler makes a table of the largest index: 9 bytes ask for 32 GB. Who writes pickles
    counts; Python 2 from 1 on."""
    for data in (b"]r\xff\xff\xff\x7f.", b"]p99999999999\n.", b"]p-1\n."):
        with pytest.raises(pickle.UnpicklingError, match="out of order"):
            load_plain_pickle(data)
    assert load_plain_pickle(b"]q\x01h\x01\x86.") == ([], [])


def test_every_cut_and_flipped_byte_is_read_or_refused() -> None:
    data = bytearray(pickle.dumps(PLAIN[:3], 2))
    messages = set()
    for position in range(len(data)):
        for changed in (data[:position], data[:position] + b"\xff" + data[position + 1 :]):
            try:
                load_plain_pickle(bytes(changed))
            except pickle.UnpicklingError as error:
                messages.add(str(error))
    assert len(messages) > 3
    assert not any("\n" in message for message in messages)
