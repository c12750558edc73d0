#!/usr/bin/env python
"""Train on a cluster of SLURM, through submitit: what is preempted or times out goes on by itself.

    python tools/submit.py --folder jobs --nodes 8 --processes 8 --timeout-min 720 \\
        --slurm partition=gpu -- --config-file configs/... OUTPUT_DIR /shared/run
    python tools/submit.py --cluster local --folder jobs --processes 2 --cpu -- --config-file ...

What stands behind "--" are the arguments of train_net.py; --resume, the number of processes and the
meeting point of the machines are added. Before its time is over, or when it is preempted, the job
gets a signal, the step is finished, a checkpoint saved, and the job queued again. --folder and
OUTPUT_DIR have to be on a disk that all machines share.
Exit code: 0 submitted, or with --cluster local done; 1 the local job failed; 2 a mistake in the
call.
"""

import argparse
import os
import signal
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

from d2seg.cli.messages import Parser, report_mistake, user_path
from d2seg.names import printable

TRAIN = Path(__file__).resolve().parents[1] / "train_net.py"
_FIRST_PORT, _NUM_PORTS = 20000, 20000  # of the meeting point, one for each job
_MOST_TIMEOUTS = 1000  # a training may be longer than any job


class Training:
    """What runs on each machine: train_net.py, in a process of its own, and how it is stopped.

    It is pickled by value, since a script is no module that other machines could import.
    """

    def __init__(self, script: str, arguments: Sequence[str], nodes: int, processes: int) -> None:
        self.script, self.arguments = script, list(arguments)
        self.nodes, self.processes = nodes, processes
        self.pid: int | None = None

    def command(self, node: int, first_host: str, job: str) -> list[str]:
        """The call on machine ``node``, which meets the others at ``first_host``."""
        command = [sys.executable, self.script, "--resume", "--num-gpus", str(self.processes)]
        if self.nodes > 1:
            port = _FIRST_PORT + zlib.crc32(job.encode()) % _NUM_PORTS
            command += ["--num-machines", str(self.nodes), "--machine-rank", str(node)]
            command += ["--dist-url", f"tcp://{first_host}:{port}"]
        return [*command, *self.arguments]

    def __call__(self) -> None:
        import submitit

        here = submitit.JobEnvironment()
        process = subprocess.Popen(self.command(here.node, here.hostnames[0], here.job_id))
        self.pid = process.pid
        self.wait()
        code = process.wait()
        if code:
            raise RuntimeError(f"the training ended with exit code {code}")

    def wait(self) -> None:
        """Until the training has ended, without taking its exit code: the handler of a signal may
        call this while the main program is in it, and Popen's lock would hold both up."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    def checkpoint(self) -> Any:
        """Called by submitit at a preemption and before the time is over."""
        import submitit

        if self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)  # it saves, and so do those it works with
            self.wait()
        again = Training(self.script, self.arguments, self.nodes, self.processes)
        return submitit.helpers.DelayedSubmission(again)


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--folder", required=True, type=user_path, help="of submitit's files and logs")
    add("--cluster", choices=("slurm", "local"), default="slurm")
    add("--nodes", type=int, default=1, help="machines")
    add("--processes", type=int, default=1, help="of each machine, one for each GPU")
    add("--cpu", action="store_true", help="ask for no GPU; add MODEL.DEVICE cpu behind --")
    add("--cpus-per-process", type=int, default=8)
    add("--timeout-min", type=int, default=720, help="minutes until the job is queued again")
    add("--signal-delay-s", type=int, default=120, help="seconds left for the checkpoint then")
    add("--slurm", nargs="*", default=[], metavar="KEY=VALUE", help="as partition=gpu, qos=low")
    add("arguments", nargs="*", help="of train_net.py, behind --")
    return parser


def executor_of(args: argparse.Namespace) -> Any:
    """submitit's, set up.

    Raises:
        ImportError: submitit is missing.
        ValueError: an argument makes no sense.
    """
    try:
        import submitit
    except ImportError as error:
        raise ImportError("jobs are submitted by submitit: `pip install submitit`") from error
    for name in ("nodes", "processes", "cpus_per_process", "timeout_min"):
        if getattr(args, name) < 1:
            raise ValueError(
                f"--{name.replace('_', '-')} is {getattr(args, name)}; it is 1 or more"
            )
    if args.cluster == "local" and args.nodes > 1:
        raise ValueError("--cluster local is this machine alone; leave out --nodes")
    options = dict(item.partition("=")[::2] for item in args.slurm)
    if not all(options.values()):
        raise ValueError(f"--slurm takes KEY=VALUE, not {' '.join(args.slurm)}")
    is_slurm = args.cluster == "slurm"
    timeouts = {"slurm_max_num_timeout": _MOST_TIMEOUTS} if is_slurm else {}
    executor = submitit.AutoExecutor(folder=args.folder, cluster=args.cluster, **timeouts)
    executor.update_parameters(
        name="d2seg",
        nodes=args.nodes,
        tasks_per_node=1,
        gpus_per_node=0 if args.cpu else args.processes,
        cpus_per_task=args.cpus_per_process * args.processes,
        timeout_min=args.timeout_min,
        slurm_signal_delay_s=args.signal_delay_s,
        **{f"slurm_{key}": value for key, value in options.items()},
    )
    return executor


def main(argv: Sequence[str] | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    args = make_parser().parse_args(argv)
    try:
        executor = executor_of(args)
        job = executor.submit(Training(str(TRAIN), args.arguments, args.nodes, args.processes))
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        return report_mistake(error)
    output = printable(job.paths.stdout)
    print(f"job {job.job_id}; its output goes to {output}", flush=True)
    if args.cluster == "slurm":
        return 0
    has_failed = job.exception() is not None
    if has_failed:
        sys.stderr.write(f"error: the job failed; {printable(job.paths.stderr)} says why\n")
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main())
