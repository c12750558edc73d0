"""Data loaders whose workers leave signals to the process that they work for.

Ctrl-C and schedulers send a signal to all processes of a run. A worker that dies of it takes the
run along, which would otherwise finish its step and save.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from torch.utils.data import DataLoader

# what asks a program to end: users, terminals, and schedulers some time before they kill it
_ASKED = (signal.SIGINT, signal.SIGTERM)
ENDING = (*_ASKED, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)


class QuietDataLoader(DataLoader):
    """torch's, whose workers die of the signals of ENDING only where their parent sends SIGTERM."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, worker_init_fn=_leave_signals_to_parent, **kwargs)

    def __iter__(self) -> Iterator[Any]:
        start = self.multiprocessing_context or multiprocessing
        if self.num_workers and start.get_start_method() != "fork":
            start_tracker()
        with held_back():  # which workers inherit: no moment is left in which one could die
            return super().__iter__()


def start_tracker() -> None:
    """Start the process with which multiprocessing tracks what others share, where these are not
    forked. Its start releases SIGINT and SIGTERM, so it must come before they are held back."""
    resource_tracker.ensure_running()


def heard() -> list[signal.Signals]:
    """Those of ENDING that a run takes: neither what is ignored, as SIGHUP is by nohup, nor what
    another part of the program has a use for."""
    return [n for n in ENDING if n in _ASKED or signal.getsignal(n) == signal.SIG_DFL]


@contextmanager
def held_back() -> Iterator[None]:
    """Signals that end a program are held back in this thread, and in the processes and threads
    that it starts, which keep them held back."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_signals_to_parent(worker: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # also where the worker was not forked
    if hasattr(signal, "sigwaitinfo"):  # not so on macOS, where the parent ends it with SIGKILL
        # not os.getppid(), which is the server's where workers are forked from one
        parent = multiprocessing.parent_process().pid
        threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """The parent sends SIGTERM to a worker that hangs."""
    while True:
        received = signal.sigwaitinfo(ENDING)
        if received.si_signo == signal.SIGTERM and received.si_pid == parent:
            os._exit(0)
