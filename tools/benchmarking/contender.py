"""One side of a work, in a process of its own."""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from .works import DTYPES, MODELS, Model, Work

Outputs = list[np.ndarray]


class Contender:
    """One side of a work. A subclass sets ``step``, what is timed, and ``outputs``."""

    step: Callable[[], Any]

    def __init__(self, work: Work) -> None:
        self.work = work
        self.device = torch.device(work.device)

    def run(self) -> float:
        """Milliseconds of one step."""
        self._wait()
        start = self.now()
        self._in_dtype()
        self._wait()
        return 1e3 * (self.now() - start)

    def now(self) -> float:
        """Seconds on the work's clock; that of the processor counts all threads together, and not
        those of other programs."""
        return time.process_time() if self.work.clock == "cpu" else time.perf_counter()

    def outputs(self) -> Outputs:
        """What is compared with the other side's before the timing."""
        raise NotImplementedError

    def memory(self) -> float:
        """Peak memory of this process, or of the GPU, in MiB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        status = Path("/proc/self/status")
        lines = status.read_text().splitlines() if status.is_file() else []
        for line in lines:  # what getrusage counts begins with the parent's peak
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
        unit = 1 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20

    def flops(self) -> float:
        """Multiplications and additions of one step in matrix products and convolutions."""
        # the fused operators of oneDNN are none that the counter knows
        with torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as counter:
            self._in_dtype()
        return float(counter.get_total_flops())

    def matmul_rate(self) -> float:
        """Operations per second of a large matrix product in this dtype, the best of ten."""
        size = (2048 if self.device.type == "cpu" else 8192) // self.work.divisor
        a = torch.randn(size, size, device=self.device, dtype=DTYPES[self.work.dtype])
        best = 0.0
        for _ in range(10):
            self._wait()
            start = time.perf_counter()
            a @ a
            self._wait()
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
        return best

    def _in_dtype(self) -> Any:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.work.dtype == "bf16"):
            return self.step()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    @property
    def model_facts(self) -> Model:
        return MODELS[self.work.model]

    @property
    def weights_file(self) -> Path:
        return Path(self.work.folder) / "weights.pt"


def result_arrays(task: str, result: Any) -> Outputs:
    """Comparable arrays of a post-processing's result."""
    if task == "semantic":
        return [result.cpu().numpy()]
    if task == "instance":
        return [result.scores.sort(descending=True).values.cpu().numpy()]
    return [(result[0] > 0).float().cpu().numpy()]
