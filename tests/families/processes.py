"""Several processes on this machine's CPU, whatever else it has."""

from collections.abc import Callable

import pytest
from detectron2.engine import launch


def launch_on_cpu(main: Callable[..., None], num_processes: int, args: tuple = ()) -> None:
    """detectron2's ``launch``, which chooses CUDA and NCCL wherever it sees a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")  # the processes inherit it
        launch(main, num_processes, dist_url="auto", args=args)
