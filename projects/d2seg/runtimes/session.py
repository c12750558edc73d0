"""An exported file, opened: arrays in, named arrays out.

The extension says the format, ``runtime`` who runs it. Packages are imported where they are needed.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..names import expand_user

RUNTIMES = ("auto", "onnxruntime", "openvino", "torch")
# who runs a format; "auto" takes the first that is installed,
RUNTIMES_OF = {
    ".onnx": ("openvino", "onnxruntime"),
    ".xml": ("openvino",),
    ".pt2": ("torch",),
}
# but of these methods another one that was measured to be faster (docs/benchmarks.md)
FASTER = {"TopFormer": "onnxruntime"}
TRUST_VARIABLE = "D2SEG_TRUST_PROGRAMS"  # set to 1: files of torch.export may run code


class Session(ABC):
    """A network that is ready to be run.

    description: what the file says of itself, see ``description.REQUIRED``.
    """

    runtime: str
    description: dict[str, Any]

    @abstractmethod
    def __call__(self, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by name, of inputs in the order of the description."""


def is_exported(path: str | Path) -> bool:
    """Whether the name is one of an exported model."""
    return Path(path).suffix.lower() in RUNTIMES_OF


def choose_runtime(path: str | Path, runtime: str = "auto") -> str:
    """Who runs a file.

    Raises:
        ValueError: an unknown runtime or format, or one does not go with the other.
        ModuleNotFoundError: none of those that could is installed.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime is {runtime!r}; it is one of {', '.join(RUNTIMES)}")
    fitting: Sequence[str] = RUNTIMES_OF.get(Path(path).suffix.lower(), ())
    if not fitting:
        raise ValueError(f"{path}: exported models end in {', '.join(RUNTIMES_OF)}")
    if runtime != "auto":
        if runtime not in fitting:
            raise ValueError(f"runtime is {runtime!r}; {path} is run by {' or '.join(fitting)}")
        fitting = (runtime,)
    found = [name for name in fitting if find_spec(name)]
    if not found:
        raise ModuleNotFoundError(
            f"{path} needs {fitting[-1]}, which is missing: pip install {fitting[-1]}"
        )
    return found[0]


def open_session(path: str | Path, runtime: str = "auto", *, trusted: bool = False) -> Session:
    """Open an exported file.

    Args:
        path: ends in .onnx, .xml or .pt2.
        runtime: one of ``RUNTIMES``.
        trusted: this process has written the file itself.

    Raises:
        ValueError: see :func:`choose_runtime`; no such file, a damaged one, or one that d2seg did
            not export; a program of torch.export that is neither ``trusted`` nor allowed by
            ``TRUST_VARIABLE`` in the environment, since torch runs pickles and expressions in it.
        ModuleNotFoundError: the runtime is not installed.
    """
    path = Path(expand_user(str(path)))
    chosen = choose_runtime(path, runtime)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    session = _open(path, chosen, trusted)
    faster = FASTER.get(session.description["method"], chosen)
    if runtime != "auto" or faster == chosen or faster not in RUNTIMES_OF[path.suffix.lower()]:
        return session
    return _open(path, faster, trusted) if find_spec(faster) else session


def _open(path: Path, runtime: str, trusted: bool) -> Session:
    """See :func:`open_session`."""
    if runtime == "onnxruntime":
        from .onnx_session import OnnxSession as Opened
    elif runtime == "openvino":
        from .openvino_session import OpenVinoSession as Opened
    else:
        if not trusted and os.environ.get(TRUST_VARIABLE) != "1":
            raise ValueError(
                f"{path} is a program of torch.export, which may run any code when it is opened; "
                f"take an ONNX or OpenVINO file, or, if you exported it, set {TRUST_VARIABLE}=1 in "
                "the environment"
            )
        from .torch_session import TorchSession as Opened
    return Opened(path)
