"""python forked_torchrun.py SCRIPT ARGUMENT ...: two processes of a script as ``torchrun
--standalone --nproc-per-node=2 --max-restarts=1`` runs them, forked from this one, which has
imported everything, where torchrun's have all of that before them at each start."""

import runpy
import sys

from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def run(script: str, *arguments: str) -> None:
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=1,
        start_method="fork",
    )
    elastic_launch(config, run)(*sys.argv[1:])
