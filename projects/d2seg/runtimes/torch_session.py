"""Programs of torch.export."""

import json
from pathlib import Path

import numpy as np
import torch

from .description import from_texts
from .session import Session

EXTRA_FILE = "d2seg.json"  # beside the program


class TorchSession(Session):
    """Runs on the CPU, without the classes that the program was made of."""

    runtime = "torch"

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ValueError: the file is damaged, or d2seg did not write it.
        """
        extra = {EXTRA_FILE: ""}
        try:
            program = torch.export.load(path, extra_files=extra)
        except Exception as error:  # of zip files, JSON, pickles, unknown operators
            raise ValueError(
                f"{path} is damaged or no program that torch {torch.__version__} reads; export anew"
            ) from error
        texts = json.loads(extra[EXTRA_FILE]) if extra[EXTRA_FILE] else {}
        self.description = from_texts(texts, str(path))
        self._module = program.module()

    @torch.inference_mode()
    def __call__(self, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        """
        Raises:
            ValueError: a size that the program was not recorded for.
        """
        try:
            outputs = self._module(*(torch.from_numpy(array) for array in arrays))
        except AssertionError as error:  # a guard of the program on the sizes
            sizes = ", ".join(" x ".join(map(str, array.shape)) for array in arrays)
            raise ValueError(
                f"the exported program takes no input of {sizes}; see docs/export.md"
            ) from error
        return {
            name: outputs[name].float().numpy()
            if outputs[name].is_floating_point()
            else outputs[name].numpy()
            for name in self.description["outputs"]
        }
