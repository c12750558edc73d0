"""Signals to a whole process group, as Ctrl-C and schedulers send them, and processes that die.

Each run is a group of its own, forked from the tests' process, which has imported everything.
"""

import argparse
import gc
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from detectron2.engine import default_argument_parser
from detectron2.engine import launch as detectron2_launch
from detectron2.utils import comm
from test_trainer import At
from torch.utils.data import Dataset
from toy_training import ToyTrainer, toy_cfg

from d2seg.data.workers import ENDING, QuietDataLoader, held_back, start_tracker
from d2seg.engine import launch
from families.programs import server_context

pytestmark = pytest.mark.forks

SECONDS = 120
ENDLESS = ("SOLVER.MAX_ITER", 10_000, "SOLVER.CHECKPOINT_PERIOD", 2)


def group(function: Callable[[], int], log: Path) -> int:
    """The exit code of ``function`` as a process group of its own; its output goes to ``log``."""
    gc.collect()  # loaders that earlier tests have left, with their workers
    child = os.fork()
    if child == 0:
        os.setsid()
        multiprocessing.process._children.clear()  # the parent's, as in multiprocessing's own forks
        torch.set_num_threads(1)  # its parent's others are not there, and would be waited for
        for number in ENDING:  # nohup and "&" have some ignored
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        logging.getLogger().addHandler(logging.StreamHandler())
        try:
            os._exit(function())
        except BaseException as error:
            os.write(2, f"Traceback: {error!r}\n".encode())
        finally:
            os._exit(99)
    for _ in range(20 * SECONDS):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError(f"no end; {log.read_text()[-2000:]}")


def signal_group(number: int) -> None:
    """From outside of it: what their parent sends to workers is for them."""
    own, child = os.getpgrp(), os.fork()
    if child == 0:
        os.setsid()
        os.killpg(own, number)
        os._exit(0)
    os.waitpid(child, 0)


def train(folder: Path, action: Callable[[], None], workers: int = 2, *opts: object) -> int:
    trainer = ToyTrainer(toy_cfg(folder, *ENDLESS, "DATALOADER.NUM_WORKERS", workers, *opts))
    trainer.resume_or_load(resume=False)
    trainer.register_hooks([At(3, action)])
    trainer.train()
    return trainer.exit_code


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("model_*.pth"))


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_to_the_group_with_workers(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    code = group(lambda: train(tmp_path, lambda: signal_group(number)), log)
    assert "Traceback" not in log.read_text(), log.read_text()
    assert code == 128 + number
    assert checkpoints(tmp_path) == ["model_0000001.pth", "model_0000003.pth", "model_0000004.pth"]


def test_sighup_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As nohup has it."""

    def run() -> int:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        trainer = ToyTrainer(toy_cfg(tmp_path))
        trainer.register_hooks([At(3, lambda: signal_group(signal.SIGHUP))])
        trainer.train()
        return trainer.exit_code

    assert group(run, tmp_path / "log") == 0, (tmp_path / "log").read_text()
    assert (tmp_path / "model_final.pth").is_file()


def test_a_signal_that_has_a_handler_keeps_it(tmp_path: Path) -> None:
    """As launchers of jobs in Python, such as submitit, have one for SIGUSR1."""
    heard = []

    def run() -> int:
        signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
        trainer = ToyTrainer(toy_cfg(tmp_path))
        trainer.register_hooks([At(3, lambda: signal_group(signal.SIGUSR1))])
        trainer.train()
        return 10 * trainer.exit_code + len(heard)

    assert group(run, tmp_path / "log") == 1, (tmp_path / "log").read_text()
    assert (tmp_path / "model_final.pth").is_file()


def test_the_launcher_does_not_pass_on_a_signal_that_has_a_handler(tmp_path: Path) -> None:
    heard = []

    def run() -> int:
        signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
        with launch._signals_passed_on() as received:
            signal_group(signal.SIGUSR1)
            signal_group(signal.SIGTERM)
            while not received or not heard:
                time.sleep(0.01)
        return 10 * received.count(signal.SIGTERM) + len(received)

    log = tmp_path / "log"
    assert group(run, log) == 11, log.read_text()


class Numbers(Dataset):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        while index == 9:
            time.sleep(1)
        return index


def test_workers_outlive_a_signal_and_end_with_their_parent(tmp_path: Path) -> None:
    """Those of an evaluation too; a worker that hangs is ended by its parent's SIGTERM."""

    def run() -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        batches = iter(QuietDataLoader(Numbers(), num_workers=2, batch_size=None))
        seen = []
        for _ in range(9):
            seen.append(next(batches))
            signal_group(signal.SIGTERM if len(seen) % 2 else signal.SIGINT)
        assert seen == list(range(9))
        hanging = batches._workers[1]
        hanging.terminate()
        hanging.join(10)
        assert hanging.exitcode == 0
        return 5

    log = tmp_path / "log"
    assert group(run, log) == 5, log.read_text()


def test_a_worker_forked_from_a_server_ends_with_its_parent() -> None:
    """Its parent in the sense of the system is the server; it was waited for without an end."""
    batches = iter(
        QuietDataLoader(
            Numbers(), num_workers=1, batch_size=None, multiprocessing_context=server_context()
        )
    )
    next(batches)
    batches._workers[0].terminate()
    batches._workers[0].join(30)
    assert batches._workers[0].exitcode == 0


def test_what_is_held_back_stays_so_where_a_process_starts(tmp_path: Path) -> None:
    """multiprocessing's tracker, which the first such process starts, lets go of SIGTERM."""

    def run() -> int:
        start_tracker()
        with held_back():
            process = multiprocessing.get_context("spawn").Process(target=os.getpid)
            process.start()
            blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
            status = Path(f"/proc/{process.pid}/status").read_text()
            process.join()
        mask = int(status.split("SigBlk:")[1].split()[0], 16)
        held = all(mask >> (number - 1) & 1 for number in ENDING)
        return 5 if held and blocked >= set(ENDING) else 6

    log = tmp_path / "log"
    assert group(run, log) == 5, log.read_text()


def launched(folder: Path, act: Callable[[], None], *opts: object) -> int:
    """Two processes that train; ``act`` is called in both after iteration 3."""

    def main(args: argparse.Namespace) -> int:
        torch.set_num_threads(1)
        return train(folder, act, 1, *opts)

    argv = ["--num-gpus", "2", "MODEL.DEVICE", "cpu", "DATASETS.TRAIN", "('toy',)"]
    with pytest.MonkeyPatch.context() as patch:
        start = detectron2_launch.__globals__["mp"].start_processes
        # spawned, they would import everything anew
        patch.setattr("torch.multiprocessing.start_processes", partial(start, start_method="fork"))
        patch.setattr(launch, "check_data", lambda *args: None)
        patch.setattr(launch, "claim_folder", lambda *args: None)
        return launch.run(main, default_argument_parser().parse_args(argv))


@pytest.mark.parametrize("max_iter", [10_000, 4])  # 4: in the save after the last one
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_group_of_two_processes(
    tmp_path: Path, number: signal.Signals, max_iter: int
) -> None:
    def act() -> None:
        if comm.get_rank() == 1:
            signal_group(number)

    log = tmp_path / "log"
    code = group(lambda: launched(tmp_path, act, "SOLVER.MAX_ITER", max_iter), log)
    assert "Traceback" not in log.read_text(), log.read_text()
    assert code == 128 + number, log.read_text()
    [*_, last] = checkpoints(tmp_path)
    assert (tmp_path / "last_checkpoint").read_text() == last >= "model_0000003.pth"
    assert (last == "model_final.pth") == (max_iter == 4)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR2])
def test_a_worker_that_is_killed_is_a_line(tmp_path: Path, number: signal.Signals) -> None:
    """As the system does where memory runs out. torch's loader says so anywhere, also in a save."""

    def kill() -> None:
        os.kill(multiprocessing.active_children()[0].pid, number)

    def run() -> int:
        return launch.run(
            lambda args: train(tmp_path, kill), argparse.Namespace(num_gpus=1, num_machines=1)
        )

    log = tmp_path / "log"
    code = group(run, log)
    said = log.read_text()
    assert code == 1, said
    assert "Traceback" not in said
    [line] = [line for line in said.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: a process that loads data was killed")
    last = checkpoints(tmp_path)[-1]
    assert f"Iteration {int(last[6:13])} is saved; --resume goes on from there" in line
    assert last >= "model_0000003.pth"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_is_named_once(tmp_path: Path, rank: int) -> None:
    def act() -> None:
        if comm.get_rank() == rank:
            os.kill(os.getpid(), signal.SIGKILL)

    log = tmp_path / "log"
    code = group(lambda: launched(tmp_path, act), log)
    said = log.read_text()
    assert code == 128 + signal.SIGKILL, said
    assert said.count(f"error: process {rank} was killed by signal 9; ") == said.count("error: ")
    assert said.count("error: ") == 1
    assert "Traceback" not in said
    assert checkpoints(tmp_path)[-1] == "model_0000003.pth"


def test_a_signal_before_there_is_anything_to_save(tmp_path: Path) -> None:
    """While the processes import, or read their data."""

    def main(args: argparse.Namespace) -> int:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" has it ignored
        signal_group(signal.SIGINT)
        time.sleep(SECONDS)
        return 0

    log = tmp_path / "log"
    assert (
        group(lambda: launch.run(main, argparse.Namespace(num_gpus=1, num_machines=1)), log) == 130
    )
    assert log.read_text().startswith("SIGINT: ended at once; ")
    assert len(log.read_text().splitlines()) == 1
