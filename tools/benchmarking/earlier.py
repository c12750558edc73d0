"""An earlier version of this project, from its worktree, as a side of the benchmark.

The side of its own ``tools/benchmarking`` is run in a process whose modules are those of that tree,
so that it needs no adapter here: its methods are called "run", "outputs" and so on since 1812e9a.
Among them is the network alone, whose outputs are compared at inference: the work "runtimes".
"""

import os
import subprocess
import sys
from multiprocessing.connection import Connection, Listener
from pathlib import Path

from .works import Work

SERVED = ("tools/benchmarking/serve.py", "projects/d2seg")  # of a tree that can take part
_CHILD = """
import sys
from multiprocessing.connection import Client
import torch
from benchmarking.ours import Ours
from benchmarking.works import Work

connection = Client(sys.argv[1])
facts = connection.recv()
alone = facts["what"] == "runtimes"
if alone:
    facts["what"] = "inference"
torch.manual_seed(0)
while (request := connection.recv()) != "end":
    if request == "prepare":
        side = Ours(Work(**{name: facts[name] for name in Work._fields}))
        if alone:
            side.step = side.outputs
        connection.send("ready")
    else:
        connection.send(getattr(side, request)())
"""


def start_earlier(tree: Path, work: Work) -> tuple[subprocess.Popen, Connection]:
    """The process, and the connection it answers on. Its threads are those of this process."""
    paths = [str(tree / "tools"), str(tree / "projects")]
    with Listener() as listener:
        process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, listener.address],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        connection = listener.accept()
    connection.send(work._asdict())
    return process, connection


def refusal_of(tree: Path) -> str:
    """Why a folder is no earlier version that can take part; empty: it is one."""
    missing = [name for name in SERVED if not (tree / name).exists()]
    if missing:
        return f"{tree} has no {missing[0]}; name a worktree of 1812e9a or later"
    return ""
