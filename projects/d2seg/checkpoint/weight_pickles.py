"""Pickles of weights: plain data, and the tensors, arrays and containers of ``rebuilding``.

No name in a pickle is imported: it is looked up in a table of our own functions, and what these
make is bounded by the size of the file. Opcodes and values are counted, and nothing recurses.
"""

import argparse
import codecs
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from .allowance import BYTES_PER_OPCODE, OBJECT_SIZE, Allowance, Named
from .nesting import check_nesting
from .plain_pickles import Machine, UnsafePickleError
from .rebuilding import FUNCTIONS, STORAGES, check_key, find
from .rebuilt_arrays import DType, set_array_state
from .shown import brief

_MAX_OPCODES = 5_000_000  # the largest checkpoints with the state of an optimizer have 100,000
_MAX_COPIES = 1_000_000  # of values that several others hold
_STOP = ord(".")

LoadStorage = Callable[[tuple], Any]


class WeightMachine(Machine):
    """Carries out the opcodes of one pickle.

    Args:
        data: the bytes, of which the pickle begins at ``position``.
        load_storage: called with the tuple by which a pickle of torch's means values that are
            elsewhere in the file.

    Attributes:
        position: after :meth:`run`, where the pickle ends.
    """

    integer_bytes = 512

    def __init__(
        self,
        data: bytes,
        allowance: Allowance,
        load_storage: LoadStorage | None = None,
        position: int = 0,
    ) -> None:
        super().__init__(data, position)
        self._allowance = allowance
        self._load_storage = load_storage

    @property
    def position(self) -> int:
        return self._position

    def run(self) -> Any:
        """The value.

        Raises:
            UnsafePickleError: it names what is not permitted; the message is that name.
            pickle.UnpicklingError: it is damaged, or asks for more than it has bytes.
        """
        try:
            return self._run()
        except (IndexError, struct.error) as error:
            raise pickle.UnpicklingError("it is cut off, or a value is missing") from error
        except (ValueError, TypeError, SyntaxError, ArithmeticError) as error:
            raise pickle.UnpicklingError(brief(error)) from error

    def _run(self) -> Any:
        data, actions = self._data, self.actions
        # each makes a value of some tens of bytes, a list or a number
        most = min(_MAX_OPCODES, self._allowance.left // BYTES_PER_OPCODE)
        for number in range(most):
            opcode = data[self._position]
            self._position += 1
            if opcode in actions:
                actions[opcode](self)
            elif opcode == _STOP:
                value = self.pop()
                check_nesting((value,), _MAX_COPIES + 2 * number)
                return value
            else:
                self._refuse(bytes([opcode]))
        raise ValueError(f"it has more than {most} opcodes, many for its size")

    def find(self, name: str) -> None:
        found = find(name)
        if found is None:
            bare = name.removeprefix("__builtin__.").removeprefix("builtins.")
            raise UnsafePickleError(brief(bare))
        self.push(found)

    def find_on_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name is no text")
        self.find(f"{module}.{name}")

    def call(self) -> None:
        values, function = self.pop(), self.pop()
        if not isinstance(function, Named) or not isinstance(values, tuple):
            raise ValueError("something is called that is no function")
        if function.name not in FUNCTIONS:
            raise UnsafePickleError(f"{function.name}(...)")
        self.push(FUNCTIONS[function.name](self._allowance, *values))

    def build(self) -> None:
        state, target = self.pop(), self._stack[-1]
        if isinstance(target, np.ndarray):
            set_array_state(self._allowance, target, state)
        elif isinstance(target, DType):
            target.set_state(state)
        elif isinstance(target, OrderedDict | argparse.Namespace) and isinstance(state, dict):
            self._allowance.charge(100 * len(state))
            if isinstance(target, argparse.Namespace):
                vars(target).update({str(key): value for key, value in state.items()})
            elif isinstance(state.get("_metadata"), dict):  # the versions of torch's modules
                target._metadata = state["_metadata"]
        else:
            raise ValueError(f"a {type(target).__name__} has no state")

    def load_persistent(self) -> None:
        described = self.pop()
        if self._load_storage is None or not isinstance(described, tuple):
            raise UnsafePickleError("the opcode BINPERSID")
        self.push(self._load_storage(described))

    def keys_since_mark(self) -> set[Any]:
        values = self.since_mark()
        for value in values:
            self.check_key(value)
        return set(values)

    def add_to_set(self) -> None:
        values = self.keys_since_mark()
        self._target(set).update(values)

    def check_key(self, key: Any) -> None:
        check_key(self._allowance, key)

    def push_set(self) -> None:
        self._allowance.charge(OBJECT_SIZE)
        self.push(set())

    def push_frozen_set(self) -> None:
        self._allowance.charge(OBJECT_SIZE)
        self.push(self.keys_since_mark())

    def _target(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise ValueError(f"there is no {kind.__name__} to add to")
        return self._stack[-1]


def described_storage(described: tuple) -> tuple[Any, str, int]:
    """(dtype, key, bytes) of what :class:`WeightMachine` hands to ``load_storage``.

    Raises:
        ValueError: it is not of torch's form.
    """
    if len(described) < 5 or described[0] != "storage":
        kind = described[0] if described and isinstance(described[0], str) else "value"
        raise UnsafePickleError(f"a persistent '{brief(kind, 40)}'")
    _, kind, key, _, count = described[:5]
    dtype = STORAGES.get(kind.name) if isinstance(kind, Named) else None
    if dtype is None or not isinstance(key, str) or type(count) is not int or count < 0:
        raise ValueError("a storage is not described as torch does")
    if any(value is not None for value in described[5:]):
        raise ValueError("a storage is a view of another one; save the file anew")
    return dtype, key, count * dtype.itemsize


def _push(read: Callable[[WeightMachine], Any]) -> Callable[[WeightMachine], None]:
    return lambda machine: machine.push(read(machine))


def _latin1(layout: struct.Struct) -> Callable[[WeightMachine], None]:
    """Python 2's text, which may be the bytes of an array."""
    return _push(lambda m: m.take(m.number(layout)).decode("latin1"))


def _bytes(layout: struct.Struct) -> Callable[[WeightMachine], None]:
    return _push(lambda m: m.take(m.number(layout)))


def _quoted(machine: WeightMachine) -> str:
    """Python 2's ``repr`` of a byte string."""
    line = machine.line_of_bytes().decode("latin1").strip()
    if len(line) < 2 or line[0] != line[-1] or line[0] not in "'\"":
        raise ValueError("a text has no quotes")
    return codecs.escape_decode(line[1:-1].encode("latin1"))[0].decode("latin1")


_BYTE, _INT, _SIZE, _LONG_SIZE = map(struct.Struct, ("<B", "<i", "<I", "<Q"))
_BY_OPCODE: dict[bytes, Callable[[WeightMachine], None]] = {
    b"c": lambda m: m.find(f"{m.line()}.{m.line()}"),
    b"\x93": WeightMachine.find_on_stack,
    b"R": WeightMachine.call,
    b"\x81": WeightMachine.call,
    b"b": WeightMachine.build,
    b"Q": WeightMachine.load_persistent,
    b"\x8f": WeightMachine.push_set,
    b"\x90": WeightMachine.add_to_set,
    b"\x91": WeightMachine.push_frozen_set,
    b"\x96": _push(lambda m: bytearray(m.take(m.number(_LONG_SIZE)))),
    b"S": _push(_quoted),
    b"V": _push(lambda m: m.line_of_bytes().decode("raw-unicode-escape")),
    b"U": _latin1(_BYTE),
    b"T": _latin1(_INT),
    b"C": _bytes(_BYTE),
    b"B": _bytes(_SIZE),
    b"\x8e": _bytes(_LONG_SIZE),
}
WeightMachine.actions = Machine.actions | {opcode[0]: do for opcode, do in _BY_OPCODE.items()}
