"""Reading pickled checkpoints without running what they contain.

A pickle may name any importable function and have it called. The readers here admit what tensors,
arrays and plain containers need and refuse the rest by name.
"""

import argparse
import io
import pickle
import re
from collections import OrderedDict
from typing import Any, BinaryIO

import numpy as np
import torch


class UnsafePickleError(pickle.UnpicklingError):
    """A pickle names something that is not permitted; the message is that name."""


def _numpy_globals() -> dict[str, Any]:
    """What pickled arrays and scalars name, under the module paths of numpy 1 and of numpy 2."""
    array = np.zeros(1)
    functions = {
        "multiarray._reconstruct": array.__reduce__()[0],
        "multiarray.scalar": np.float64(0).__reduce__()[0],
        "numeric._frombuffer": array.__reduce_ex__(5)[0],
    }
    return {
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")
        for name, function in functions.items()
    } | {"numpy.ndarray": np.ndarray, "numpy.dtype": np.dtype}


def _encode_latin1(text: str, encoding: str) -> bytes:
    """Replaces ``_codecs.encode``, with which old pickle protocols write bytes."""
    if encoding != "latin1":
        raise UnsafePickleError(f"_codecs.encode to '{encoding}'")
    return text.encode("latin1")


def _storage_from_bytes(data: bytes) -> Any:
    """Replaces torch's function of that name, which unpickles anything."""
    return load_torch(io.BytesIO(data))


_IN_PLAIN_PICKLES: dict[str, Any] = _numpy_globals() | {
    "_codecs.encode": _encode_latin1,
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
    "torch.storage._load_from_bytes": _storage_from_bytes,
}

# besides torch's own list: what training scripts store beside the weights
_IN_TORCH_FILES: list[Any] = [
    *((value, name) for name, value in _numpy_globals().items()),
    *(type(np.dtype(code)) for code in "?bBhHiIlLqQefdSUV"),
    argparse.Namespace,
    (OrderedDict, "yacs.config.CfgNode"),
    (OrderedDict, "fvcore.common.config.CfgNode"),
    (OrderedDict, "detectron2.config.config.CfgNode"),
]


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name not in _IN_PLAIN_PICKLES:
            raise UnsafePickleError(full_name)
        return _IN_PLAIN_PICKLES[full_name]


def load_pickle(file: BinaryIO) -> Any:
    """Read a plain pickle of arrays and tensors, as detectron2's model zoo has them.

    Raises:
        UnsafePickleError: the pickle names anything else.
        pickle.UnpicklingError, EOFError and others: it is damaged.
    """
    return _Unpickler(file, encoding="latin1").load()


def load_torch(file: str | BinaryIO) -> Any:
    """Read what ``torch.save`` wrote, to the CPU. Stored config nodes become ordered dicts.

    Raises:
        UnsafePickleError: the file names anything that is not permitted.
        pickle.UnpicklingError, RuntimeError, EOFError and others: it is damaged.
    """
    with torch.serialization.safe_globals(_IN_TORCH_FILES):
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            refused = re.search(r"GLOBAL (\S+)", str(error))
            if refused:
                raise UnsafePickleError(refused[1]) from error
            # without torch's advice to load it unsafely
            reason = re.search(r"WeightsUnpickler error: (.+)", str(error))
            raise pickle.UnpicklingError(reason[1] if reason else "not a pickle") from error
