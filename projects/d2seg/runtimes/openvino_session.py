"""OpenVINO's own files, and ONNX files in OpenVINO."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch

from .description import PREFIX, REQUIRED, from_texts
from .session import Session


class OpenVinoSession(Session):
    """Runs on the CPU with as many threads as torch has, in bf16 if the file says so, else in fp32.

    By itself OpenVINO computes in bf16 wherever the processor can.
    """

    runtime = "openvino"

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ValueError: the file is damaged, d2seg did not write it, or the processor cannot compute
                in its number format.
        """
        core = openvino.Core()
        try:
            model = core.read_model(str(path))
        except RuntimeError as error:
            raise ValueError(
                f"{path} is damaged or no model that OpenVINO reads; export anew"
            ) from error
        self.description = from_texts(_texts(model), str(path))
        is_bf16 = self.description["dtype"] == "bf16"
        if is_bf16:
            check_bf16(str(path))
        self._compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if is_bf16 else "f32",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
        self._request = self._compiled.create_infer_request()
        self._outputs = self.description["outputs"]

    def __call__(self, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        self._request.infer(list(arrays), share_inputs=True)
        return {
            name: self._request.get_output_tensor(index).data.copy()
            for index, name in enumerate(self._outputs)
        }


def check_bf16(source: str) -> None:
    """
    Raises:
        ValueError: the processor has no instructions for it.
    """
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ValueError(
            f"{source}: OpenVINO computes in bf16 only with instructions that this processor does "
            "not have; export with --dtype fp32"
        )


def _texts(model: openvino.Model) -> dict[str, str]:
    """Those of OpenVINO's own files, or of an ONNX file."""
    info = model.get_rt_info()
    found = {}
    for place in ("d2seg", "framework"):
        entries = _plain(info[place]) if place in info else {}
        found |= {str(key): str(_plain(value)) for key, value in dict(entries).items()}
    return {
        name: found[short]
        for key in REQUIRED
        for name, short in ((PREFIX + key, key), (PREFIX + key, PREFIX + key))
        if short in found
    }


def _plain(value: Any) -> Any:
    """Of one of OpenVINO's boxes."""
    return getattr(value, "value", value)
