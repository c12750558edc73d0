"""ONNX files in ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from .description import from_texts
from .session import Session


class OnnxSession(Session):
    """Runs on the CPU, with as many threads as torch has."""

    runtime = "onnxruntime"

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ValueError: the file is damaged, or d2seg did not write it.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors alone
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no base of their own
            raise ValueError(
                f"{path} is damaged or no ONNX file that ONNX Runtime {onnxruntime.__version__} "
                f"reads ({_first_line(error)}); export anew"
            ) from error
        texts = self._session.get_modelmeta().custom_metadata_map
        self.description = from_texts(texts, str(path))
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._outputs = [each.name for each in self._session.get_outputs()]

    def __call__(self, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        found = self._session.run(None, dict(zip(self._inputs, arrays, strict=True)))
        return dict(zip(self._outputs, found, strict=True))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
