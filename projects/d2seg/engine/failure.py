"""What becomes of a training when a step fails, or another process of it is gone."""

import contextlib
import logging
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch.distributed as dist
from detectron2.utils import comm
from torch._C import _error_if_any_worker_fails

from ..checkpoint.files import WriteError
from .full_disk import is_write_error
from .hooks import check_finite
from .train_step import TrainingDivergedError

if TYPE_CHECKING:
    from .trainer import Trainer

logger = logging.getLogger(__name__)

_WORKER = re.compile(
    r"DataLoader worker \(pid(\(s\))? [0-9, ]+\) (is (?P<reason>killed by signal: [\w ]+)|exited)"
)

# what gloo and NCCL say where the other end of a connection is gone
_LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process")


def is_lost_process(error: BaseException) -> bool:
    """Whether it is what a process sees of the death of another one of the same run."""
    if not dist.is_initialized() or comm.get_world_size() == 1:
        return False
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _LOST)


class LostWorkerError(RuntimeError):
    """A process that loads data was killed; the message says what is saved."""


@contextlib.contextmanager
def children_unheard() -> Iterator[None]:
    """torch's loader raises an error wherever the program is when a process of it dies. Not inside,
    where the first one is dealt with."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def cause_of(error: BaseException) -> BaseException:
    """``error``, or the death of a process that loads data, where it is what comes of that, as a
    connection that ends."""
    if isinstance(error, OSError | EOFError) and not is_lost_worker(error):
        for _ in range(10):  # the process may not be quite dead
            try:
                _error_if_any_worker_fails()
            except RuntimeError as cause:
                return cause
            time.sleep(0.1)
    return error


def is_lost_worker(error: BaseException) -> bool:
    """Whether it is what torch's loader says of a process of its own that was killed, wherever the
    program was: in a save, too."""
    return isinstance(error, RuntimeError | WriteError) and _WORKER.search(str(error)) is not None


def lost_worker(error: BaseException, saved: str = "") -> LostWorkerError:
    """``error``, of which :func:`is_lost_worker` is true, for a user."""
    reason = f"was {_WORKER.search(str(error))['reason'] or 'killed'}"
    return LostWorkerError(
        f"a process that loads data {reason}; the system kills where memory runs out: lower "
        f"DATALOADER.NUM_WORKERS or SOLVER.IMS_PER_BATCH. {saved}".strip()
    )


def save_after(trainer: "Trainer", error: Exception) -> str:
    """Save what was trained before ``error``, if it is worth it and can be done.

    Returns:
        What is saved, in a sentence.
    """
    known = isinstance(error, (ValueError, TrainingDivergedError))  # shown by the script
    lost = is_lost_process(error) or is_lost_worker(error)
    if known or lost or is_write_error(error):
        logger.error("Training ended in iteration %d", trainer.iter)
    else:
        logger.exception("Training ended in iteration %d:", trainer.iter)
    trainer.iter = trainer.last_step
    if trainer.last_step < trainer.start_iter:
        return "Nothing was trained."
    if trainer.step.is_torn:
        logger.error("Nothing is saved: the step failed while it changed the weights")
    else:
        try:
            check_finite(trainer.step, trainer.iter)
            trainer.save_iteration()
            saved = f"Iteration {trainer.iter} is saved; --resume goes on from there"
            if comm.is_main_process():
                logger.info(saved)
            return saved
        except TrainingDivergedError as reason:
            logger.error("Nothing is saved: %s", reason)
        # a full disk; a device that is lost; a folder that another run has now
        except (OSError, RuntimeError, ValueError) as reason:
            logger.error("The weights could not be saved: %s", reason)
    last = Path(trainer.checkpointer.get_checkpoint_file()).name or "none"
    return f"Iteration {trainer.iter} could not be saved; the last whole checkpoint is {last}"


def end_after(trainer: "Trainer", error: BaseException) -> None:
    """Save what was trained before ``error``, and let the hooks of ``trainer`` end.

    Raises:
        LostWorkerError, WriteError: in place of an ``error`` that comes of a process that loads
            data, or of a full disk; they say what is saved, too.
    """
    with children_unheard():
        cause = cause_of(error)
        saved = save_after(trainer, cause) if isinstance(error, Exception) else ""
        with contextlib.suppress(OSError):  # of the record, where the disk is full
            trainer.end(failure=error)
    if is_lost_worker(cause):
        raise lost_worker(cause, saved) from error
    if is_write_error(error):
        raise WriteError(f"{error}. {saved}") from error
