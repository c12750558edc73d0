"""Reading pickles of plain data: dicts, lists, tuples, text and numbers, and nothing else.

Annotations that are given out as pickles (the ``refs(unc).p`` of RefCOCO) hold no more than that.
Of the pickle language (Python's ``pickletools`` documents it) the opcodes that build plain values
are carried out here; there is none that could import or call something. A length or an index takes
no more memory than the file has bytes, no value is hashed but text and numbers, and nothing here
recurses. The opcodes are those of protocols 0 to 5, as Python 2 and 3 write them.
"""

import codecs
import pickle
import struct
from collections.abc import Callable
from typing import Any

from .shown import brief


class UnsafePickleError(pickle.UnpicklingError):
    """A pickle names something that is not permitted; the message is that name."""


_MARK = object()
_STOP = ord(".")
_BYTE, _SHORT, _INT = struct.Struct("<B"), struct.Struct("<H"), struct.Struct("<i")
_SIZE, _LONG_SIZE, _DOUBLE = struct.Struct("<I"), struct.Struct("<Q"), struct.Struct(">d")
_KEYS = (str, int, bool, type(None))
_LARGEST = 2**63  # integers of more bits could be made to share one hash
MAX_NUMBERS_AS_KEYS = 20_000  # chosen well, each looks at the places of all others
_MAX_GAP = 8  # in the numbers of values, which all who write pickles count
_MAX_DIGITS = 1300  # of an integer; the time to read more grows with their square
_REFUSED = {
    b"R": "REDUCE",
    b"b": "BUILD",
    b"o": "OBJ",
    b"\x81": "NEWOBJ",
    b"\x92": "NEWOBJ_EX",
    b"P": "PERSID",
    b"Q": "BINPERSID",
    b"\x97": "NEXT_BUFFER",
    b"\x98": "READONLY_BUFFER",
    b"\x82": "EXT1",
    b"\x83": "EXT2",
    b"\x84": "EXT4",
}


def load_plain_pickle(data: bytes) -> Any:
    """The value that ``data`` holds.

    Byte strings, Python 2's text, become text too: UTF-8, or where they are not, Latin 1.

    Raises:
        UnsafePickleError: it names a function or class; the message is that name, or the opcode.
        pickle.UnpicklingError: it is damaged.
    """
    try:
        return Machine(data).run()
    except (IndexError, struct.error) as error:
        raise pickle.UnpicklingError("it is cut off, or a value is missing") from error
    except (ValueError, SyntaxError) as error:
        raise pickle.UnpicklingError(brief(error)) from error


class Machine:
    """Carries out the opcodes of one pickle: a stack of values, and numbered ones to come back.

    A derived class may have ``actions`` for more opcodes, and larger integers.
    """

    integer_bytes = 8
    actions: dict[int, Callable[[Any], None]]

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self._position = position
        self._stack: list[Any] = []
        self._numbered: list[Any] = []  # a gap is a mark
        self._num_number_keys = 0

    def run(self) -> Any:
        data, actions = self._data, self.actions
        while True:
            opcode = data[self._position]
            self._position += 1
            if opcode in actions:
                actions[opcode](self)
            elif opcode == _STOP:
                return self.pop()
            else:
                self._refuse(bytes([opcode]))

    def _refuse(self, opcode: bytes) -> None:
        if opcode in (b"c", b"i"):
            raise UnsafePickleError(brief(f"{self.line()}.{self.line()}"))
        if opcode == b"\x93":
            raise UnsafePickleError(".".join(brief(part, 80) for part in self._stack[-2:]))
        if opcode in _REFUSED:
            raise UnsafePickleError(f"the opcode {_REFUSED[opcode]}")
        where = self._position - 1
        raise ValueError(f"byte {where} is {opcode!r}, which is no opcode of plain data")

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        taken = self._data[self._position : self._position + size]
        if size < 0 or len(taken) < size:
            raise ValueError("it is cut off")
        self._position += size
        return taken

    def number(self, layout: struct.Struct) -> Any:
        (number,) = layout.unpack_from(self._data, self._position)
        self._position += layout.size
        return number

    def line_of_bytes(self) -> bytes:
        end = self._data.find(b"\n", self._position)
        if end < 0:
            raise ValueError("it is cut off")
        return self.take(end + 1 - self._position)[:-1]

    def line(self) -> str:
        return _text(self.line_of_bytes())

    def whole_line(self) -> int | bool:
        line = self.line().strip()
        if len(line) > _MAX_DIGITS:
            raise ValueError("an integer has too many digits")
        return line == "01" if line in ("00", "01") else self.checked(int(line.rstrip("L")))

    def checked(self, number: int) -> int:
        if number.bit_length() >= 8 * self.integer_bytes and number != -_LARGEST:
            raise ValueError(f"an integer has more than {8 * self.integer_bytes} bits")
        return number

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def since_mark(self) -> list[Any]:
        """Take off all values above the last mark, and the mark."""
        stack = self._stack
        start = len(stack) - 1
        while stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise ValueError("a mark is missing")
        values = stack[start + 1 :]
        del stack[start:]
        return values

    def remember(self, number: int) -> None:
        gap = number - len(self._numbered)
        if not -len(self._numbered) <= gap < _MAX_GAP:
            raise ValueError("the number of a value is out of order")
        self._numbered += [_MARK] * (gap + 1)
        self._numbered[number] = self._stack[-1]

    def remember_byte(self) -> None:
        """Do as :meth:`remember`; this and the next are half of all opcodes and must be fast."""
        if self._data[self._position] == len(self._numbered):
            self._numbered.append(self._stack[-1])
        else:
            self.remember(self._data[self._position])
        self._position += 1

    def recall_byte(self) -> None:
        self._stack.append(self._numbered[self._data[self._position]])
        self._position += 1

    def memoize(self) -> None:
        self._numbered.append(self._stack[-1])

    def recall(self, number: int) -> None:
        self._stack.append(self._numbered[number])  # a negative one is that of a value, too

    def add_to_list(self, values: list[Any]) -> None:
        self._target(list).extend(values)

    def add_to_dict(self, values: list[Any]) -> None:
        target = self._target(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            self.check_key(key)
            target[key] = value

    def check_key(self, key: Any) -> None:
        """Whether it may be hashed: the hash of nested tuples may take forever."""
        if type(key) not in _KEYS:
            raise ValueError(f"a {type(key).__name__} is the key of a dict")
        if type(key) is int:
            self._num_number_keys += 1
            if self._num_number_keys > MAX_NUMBERS_AS_KEYS:
                raise ValueError(f"it has more than {MAX_NUMBERS_AS_KEYS} numbers as keys")

    def push_dict(self, values: list[Any]) -> None:
        self.push({})
        self.add_to_dict(values)

    def push_tuple(self, size: int) -> None:
        self.push(tuple(self.pop() for _ in range(size))[::-1])

    def append(self) -> None:
        self.add_to_list([self.pop()])

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.add_to_dict([key, value])

    def _target(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise ValueError(f"there is no {kind.__name__} to add to")
        return self._stack[-1]


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("latin1")


def _quoted(line: str) -> str:
    """Python 2's ``repr`` of a byte string."""
    line = line.strip()
    if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"":
        raise ValueError("a text has no quotes")
    return _text(codecs.escape_decode(line[1:-1].encode("utf-8", "surrogatepass"))[0])


def _push(read: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.push(read(machine))


def _sized(layout: struct.Struct) -> Callable[[Machine], None]:
    """Text with its length in front."""
    return lambda machine: machine.push(_text(machine.take(machine.number(layout))))


def _long(layout: struct.Struct) -> Callable[[Machine], None]:
    return _push(
        lambda m: m.checked(int.from_bytes(m.take(m.number(layout)), "little", signed=True))
    )


_BY_OPCODE: dict[bytes, Callable[[Machine], None]] = {
    b"\x80": lambda m: m.number(_BYTE) and None,  # protocol
    b"\x95": lambda m: m.number(_LONG_SIZE) and None,  # length of a frame
    b"(": lambda m: m.push(_MARK),
    b"0": lambda m: m._stack.pop() and None,
    b"1": lambda m: m.since_mark() and None,
    b"2": lambda m: m.push(m._stack[-1]),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    # numbers
    **dict.fromkeys((b"I", b"L"), _push(lambda m: m.whole_line())),
    b"F": _push(lambda m: float(m.line())),
    b"K": _push(lambda m: m.number(_BYTE)),
    b"M": _push(lambda m: m.number(_SHORT)),
    b"J": _push(lambda m: m.number(_INT)),
    b"G": _push(lambda m: m.number(_DOUBLE)),
    b"\x8a": _long(_BYTE),
    b"\x8b": _long(_INT),
    # text
    b"S": _push(lambda m: _quoted(m.line())),
    b"V": _push(
        lambda m: m.line().encode("latin1", "backslashreplace").decode("raw-unicode-escape")
    ),
    **dict.fromkeys((b"U", b"C", b"\x8c"), _sized(_BYTE)),
    **dict.fromkeys((b"T",), _sized(_INT)),
    **dict.fromkeys((b"X", b"B"), _sized(_SIZE)),
    **dict.fromkeys((b"\x8d", b"\x8e"), _sized(_LONG_SIZE)),
    # containers
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"l": lambda m: m.push(m.since_mark()),
    b"d": lambda m: m.push_dict(m.since_mark()),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"\x85": lambda m: m.push_tuple(1),
    b"\x86": lambda m: m.push_tuple(2),
    b"\x87": lambda m: m.push_tuple(3),
    b"a": Machine.append,
    b"e": lambda m: m.add_to_list(m.since_mark()),
    b"s": Machine.set_item,
    b"u": lambda m: m.add_to_dict(m.since_mark()),
    b"p": lambda m: m.remember(m.whole_line()),
    b"q": Machine.remember_byte,
    b"r": lambda m: m.remember(m.number(_SIZE)),
    b"\x94": Machine.memoize,
    b"g": lambda m: m.recall(m.whole_line()),
    b"h": Machine.recall_byte,
    b"j": lambda m: m.recall(m.number(_SIZE)),
}
Machine.actions = {opcode[0]: action for opcode, action in _BY_OPCODE.items()}
