"""Starts the processes of a run, and turns the way it ends into an exit code."""

import argparse
import contextlib
import ctypes
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator

import torch
import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, launch
from detectron2.utils import comm
from torch.multiprocessing.spawn import ProcessExitedException

from ..data.build import images_per_process
from ..data.catalog import check_data
from ..data.workers import ENDING, heard, held_back, start_tracker
from ..names import printable
from .failure import LostWorkerError, is_lost_process, is_lost_worker, lost_worker
from .full_disk import is_write_error
from .output_folder import claim_folder
from .prepare import check_evaluation, check_run, is_torchrun, read_config
from .train_step import TrainingDivergedError

logger = logging.getLogger(__name__)

USER_ERROR = 2  # exit code
TRACEBACK_VARIABLE = "D2SEG_TRACEBACK"  # of the environment; set: errors are shown in full

_SECONDS_TO_NOTICE = 3  # till the launcher sees which process ended first

Main = Callable[[argparse.Namespace], int]


def run(main: Main, args: argparse.Namespace) -> int:
    """Run ``main(args)`` in as many processes as the command line asks for.

    ``--num-gpus`` processes on each of ``--num-machines`` machines, through detectron2's launcher;
    with MODEL.DEVICE cpu they are CPU processes that talk by gloo. Under torchrun this process is
    one of those that torchrun has started, and the process group is made here.

    Returns:
        An exit code: that of ``main``; or, with one line on stderr, 2 for what a user did wrong
        (``ValueError`` and, for a package that is missing, ``ImportError``), 1 for a training
        that diverged, a disk that takes no more or a worker that was killed, 130 for Ctrl-C where
        nothing is to be saved, and 128 + n if signal n ended a process. Any other exception passes.
    """
    if is_torchrun():
        return _guarded(_join_torchrun, main, args)
    if args.num_gpus * args.num_machines <= 1:
        return _guarded(main, args)
    code = _guarded(_prepare_launch, args)
    if code:
        return code
    # A process that fails makes the launcher kill the others. One that was interrupted must not do
    # that to those that are about to end as well, so it exits with 0 and leaves its code here.
    code_of_interrupt = multiprocessing.get_context("spawn").RawValue("i", 0)
    try:
        with _signals_passed_on() as received:
            launch(
                _worker,
                args.num_gpus,
                num_machines=args.num_machines,
                machine_rank=args.machine_rank,
                dist_url=_meeting_point(args),
                args=(main, args, code_of_interrupt),
            )
    except ProcessExitedException as error:
        return _code_of(error, received)
    code = code_of_interrupt.value
    # the processes may have heard the SIGTERM that was passed on to them first
    return 128 + received[0] if code > 128 and received else code


def _code_of(error: ProcessExitedException, received: list[int]) -> int:
    """The exit code after a process of the run has ended; one that was killed could not say so."""
    if error.exit_code > 0:  # it has said why
        return error.exit_code
    number = -error.exit_code
    if received:
        sys.stderr.write(f"{_interrupted(received[0])}\n")
        return 128 + received[0]
    hint = "; the system does that where memory runs out" if number == signal.SIGKILL else ""
    sys.stderr.write(
        f"error: process {error.error_index} was killed by signal {number}{hint}. --resume goes on "
        "from the last checkpoint\n"
    )
    return 128 + number


def _interrupted(number: int) -> str:
    return (
        f"{signal.Signals(number).name}: ended; --resume goes on from the last checkpoint, if any"
    )


def _guarded(function: Callable[..., int], *arguments: object) -> int:
    try:
        return function(*arguments)
    except (ValueError, ImportError, TrainingDivergedError) as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        diverged = isinstance(error, TrainingDivergedError)
        if not diverged or comm.is_main_process():
            sys.stderr.write(f"error: {_one_line(error)}\n")
        return 1 if diverged else USER_ERROR
    except OSError as error:
        if os.environ.get(TRACEBACK_VARIABLE) or not is_write_error(error):
            raise
        sys.stderr.write(f"error: {_one_line(error)}\n")
        return 1
    except KeyboardInterrupt:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        if comm.is_main_process():
            sys.stderr.write("SIGINT: ended at once; --resume goes on from the last save, if any\n")
        return 128 + signal.SIGINT
    except RuntimeError as error:
        if is_lost_worker(error):
            error = lost_worker(error)
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        if isinstance(error, LostWorkerError):
            sys.stderr.write(f"error: {printable(error)}\n")
            return 1
        if not is_lost_process(error):
            raise
        logger.error("Another process of this run has ended: %s", _one_line(error))
        time.sleep(_SECONDS_TO_NOTICE)
        return 1


def _one_line(error: Exception) -> str:
    """The message; if it went through a worker of a data loader, without the traceback there."""
    message = str(error).strip()
    if message.startswith("Caught ") and "Traceback" in message:
        message = re.split(r"\n[\w.]+(?:Error|Exception): ", message)[-1]
    elif not _is_raised_here(error):  # the message was not written for users of this package
        message += f" ({TRACEBACK_VARIABLE}=1 in the environment shows where)"
        message = " ".join(message.split())
    return printable(message)


def _is_raised_here(error: Exception) -> bool:
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals["__name__"].startswith(__package__.partition(".")[0])


def _prepare_launch(args: argparse.Namespace) -> int:
    """Find here, once, what would go wrong in every process."""
    cfg = read_config(args)
    check_run(cfg, args.eval_only)
    if _is_on_cpu(cfg):
        # the launcher chooses NCCL wherever it sees a GPU; the processes inherit this
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif args.num_gpus > torch.cuda.device_count():
        raise ValueError(
            f"--num-gpus is {args.num_gpus}, but this machine has {torch.cuda.device_count()} "
            "CUDA devices; for CPU processes add MODEL.DEVICE cpu"
        )
    else:
        _check_device_of_many(cfg)
    if not args.eval_only:
        images_per_process(cfg, args.num_gpus * args.num_machines)
    check_data(cfg, args.eval_only)
    if not args.eval_only:
        check_evaluation(cfg)
        claim_folder(cfg.OUTPUT_DIR, args.resume, cfg.SOLVER.OVERWRITE)
    return 0


def _meeting_point(args: argparse.Namespace) -> str:
    """--dist-url; where that is not given, a free port of this machine.

    detectron2's default is the same for all runs of one user, of which only the first gets it.
    """
    is_given = args.dist_url != default_argument_parser().get_default("dist_url")
    return args.dist_url if is_given or args.num_machines > 1 else "auto"


def _worker(main: Main, args: argparse.Namespace, code_of_interrupt: ctypes.c_int) -> None:
    """Run ``main`` in a process that detectron2's launcher has started."""
    # It was spawned, and so would be its data loaders' workers, each importing everything anew.
    # The platform's default, which a run of one process has too, starts them at once.
    multiprocessing.set_start_method(None, force=True)
    signal.set_wakeup_fd(-1)  # the launcher's, where this process was forked
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)  # those that came during the imports, too
    code = _guarded(_as_one_of_many, main, args)
    if code > 128:
        code_of_interrupt.value = code
    elif code:
        sys.exit(code)


def _as_one_of_many(main: Main, args: argparse.Namespace) -> int:
    if not torch.cuda.is_available() and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // comm.get_local_size()))
    code = main(args)
    comm.synchronize()
    dist.destroy_process_group()
    return code


def _join_torchrun(main: Main, args: argparse.Namespace) -> int:
    local_rank, local_size = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if args.num_gpus > 1 or args.num_machines > 1:
        raise ValueError(
            "--num-gpus and --num-machines are torchrun's to say: give it --nproc-per-node and "
            "--nnodes instead"
        )
    cfg = read_config(args)
    on_cpu = _is_on_cpu(cfg)
    if not on_cpu:
        if int(os.environ["WORLD_SIZE"]) > 1:
            _check_device_of_many(cfg)
        if local_size > torch.cuda.device_count():
            raise ValueError(
                f"torchrun started {local_size} processes, but this machine has "
                f"{torch.cuda.device_count()} CUDA devices; for CPU processes add MODEL.DEVICE cpu"
            )
        torch.cuda.set_device(local_rank)
    store, rank, size = next(dist.rendezvous("env://"))
    # processes that torchrun starts anew would meet those that have ended: the store outlives them
    store = dist.PrefixStore(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    backend = "gloo" if on_cpu else "nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    comm.create_local_process_group(local_size)
    comm.synchronize()
    return _as_one_of_many(main, args)


def _check_device_of_many(cfg: CfgNode) -> None:
    if torch.device(cfg.MODEL.DEVICE).index is not None:
        raise ValueError(
            f"MODEL.DEVICE is '{cfg.MODEL.DEVICE}', which several processes would share; set "
            "MODEL.DEVICE cuda and choose the devices by CUDA_VISIBLE_DEVICES"
        )


def _is_on_cpu(cfg: CfgNode) -> bool:
    return torch.device(cfg.MODEL.DEVICE).type == "cpu"


@contextlib.contextmanager
def _signals_passed_on() -> Iterator[list[int]]:
    """Pass signals on to the children, which save and exit, before this process exits.

    They are held back from the start of a child to its first line, for one that comes while it
    imports would make it a traceback. This process takes them in a thread of its own: its main one,
    from which children inherit what is held back, waits for their end.

    Yields:
        The signals that have come.
    """
    received: list[int] = []
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def take() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        while number := os.read(reading, 1):
            if number[0] not in previous:  # the pipe gets those of all signals with a handler
                continue
            received.append(number[0])
            # the terminal sends SIGINT to the children too, and a second one would mean "at once"
            for child in multiprocessing.active_children():
                if child.pid is not None:
                    os.kill(child.pid, signal.SIGTERM)
        os.close(reading)

    previous = {number: signal.signal(number, lambda *_: None) for number in heard()}
    descriptor = signal.set_wakeup_fd(writing)
    thread = threading.Thread(target=take, daemon=True)
    start_tracker()
    try:
        with held_back():
            thread.start()
            yield received
    finally:
        signal.set_wakeup_fd(descriptor)
        os.close(writing)
        thread.join()
        for number, handler in previous.items():
            signal.signal(number, handler)
