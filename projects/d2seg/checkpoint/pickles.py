"""Reading pickled checkpoints without running what they contain.

A pickle may name any importable function and have it called. The readers here admit what tensors,
arrays and plain containers need, replaced by functions of our own (``rebuilding``), and refuse the
rest by name.
"""

import io
import os
import tempfile
from typing import Any, BinaryIO

from .allowance import Allowance
from .plain_pickles import UnsafePickleError
from .rebuilding import FUNCTIONS
from .torch_archive import read_archive, read_older_form
from .weight_pickles import WeightMachine

__all__ = ["UnsafePickleError", "load_pickle", "load_torch"]


def load_pickle(file: BinaryIO) -> Any:
    """Read a plain pickle of arrays and tensors, as detectron2's model zoo has them.

    Raises:
        UnsafePickleError: the pickle names anything else.
        pickle.UnpicklingError, ValueError and others: it is damaged, or asks for more memory than
            it has bytes.
    """
    data = file.read()
    return WeightMachine(data, Allowance(len(data))).run()


def load_torch(file: str | BinaryIO) -> Any:
    """Read what ``torch.save`` wrote, to the CPU. Stored config nodes become ordered dicts.

    Raises:
        UnsafePickleError: the file names anything that is not permitted.
        pickle.UnpicklingError, ValueError and others: it is damaged, or asks for more memory than
            it has bytes.
    """
    if isinstance(file, str):
        with open(file, "rb") as opened:
            return load_torch(opened)
    if not _is_zip(file):
        data = file.read()
        return read_older_form(data, Allowance(len(data)))
    if isinstance(file, io.BytesIO):
        with tempfile.TemporaryFile() as copy:
            copy.write(file.read())
            copy.flush()
            return read_archive(copy)
    return read_archive(file)


def _is_zip(file: BinaryIO) -> bool:
    head = file.read(2)
    file.seek(-len(head), os.SEEK_CUR)
    return head == b"PK"


def _tensor_from_bytes(allowance: Allowance, data: Any) -> Any:
    """In place of torch's ``_load_from_bytes``, by which a plain pickle holds a tensor's memory."""
    if not isinstance(data, bytes):
        raise ValueError("a tensor's memory is not of bytes")
    allowance.charge(len(data))
    return read_older_form(data, allowance)


FUNCTIONS["torch.storage._load_from_bytes"] = _tensor_from_bytes
