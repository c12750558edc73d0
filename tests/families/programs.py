"""Programs of this repository in processes of their own that need not import everything again.

They are forked from a process that has imported what ``families.preloaded`` does and nothing more:
no state of pytest or of another test is in them. Starting one costs a tenth of a new interpreter.
"""

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Sequence
from multiprocessing import forkserver
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["families.preloaded", "families.programs"])


def server_context() -> multiprocessing.context.ForkServerContext:
    """multiprocessing's, whose server runs and has imported all."""
    with pytest.MonkeyPatch.context() as patch:
        # the server of Python 3.11 imports nothing that is found by this process's path alone
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    return _context


class Program:
    """A script that runs, as ``subprocess.Popen`` of it would.

    Attributes:
        stderr: what it wrote there, after :meth:`wait`
    """

    def __init__(
        self, script: Path, arguments: list[str], folder: Path, log: Path, **environment: str
    ) -> None:
        """
        Args:
            folder: the current one of the process; what it has in ``datasets`` are the data sets.
            log: file for its output; errors go to one beside it.
        """
        self._errors = log.with_suffix(".stderr")
        log.write_text("")  # there to be read at once
        environment = {**os.environ, **environment}
        self._process = server_context().Process(
            target=_run, args=(script, arguments, folder, log, self._errors, environment)
        )
        self._process.start()

    def wait(self, timeout: float) -> int:
        """The exit code, as of ``subprocess``.

        Raises:
            TimeoutError: it does not end.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"no end after {timeout} s")
        self.stderr = self._errors.read_text()
        return self._process.exitcode

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def run_program(
    script: Path, arguments: Sequence[object], folder: Path, timeout: float = 300
) -> CompletedProcess:
    """A :class:`Program` from start to end, as ``subprocess.run`` with captured text."""
    words = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as logs:
        log = Path(logs) / "log"
        program = Program(script, words, folder, log, OMP_NUM_THREADS="1")
        code = program.wait(timeout)
        return CompletedProcess([str(script), *words], code, log.read_text(), program.stderr)


def _run(
    script: Path,
    arguments: list[str],
    folder: Path,
    log: Path,
    errors: Path,
    environment: dict[str, str],
) -> None:
    # what the server has changed
    signal.signal(signal.SIGINT, signal.default_int_handler)
    multiprocessing.set_start_method(None, force=True)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", torch.get_num_threads())))
    os.chdir(folder)
    for target, path in ((1, log), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), target)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.argv = [str(script), *arguments]
    # multiprocessing turns SystemExit into the exit code, and flushes
    runpy.run_path(str(script), run_name="__main__")
