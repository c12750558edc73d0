"""What becomes of a training when a step fails, or another process of it is gone."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import torch.distributed as dist
from detectron2.utils import comm

from .full_disk import is_write_error
from .hooks import check_finite
from .train_step import TrainingDivergedError

if TYPE_CHECKING:
    from .trainer import Trainer

logger = logging.getLogger(__name__)

# what gloo and NCCL say where the other end of a connection is gone
_LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process")


def is_lost_process(error: BaseException) -> bool:
    """Whether it is what a process sees of the death of another one of the same run."""
    if not dist.is_initialized() or comm.get_world_size() == 1:
        return False
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _LOST)


def save_after(trainer: "Trainer", error: Exception) -> str:
    """Save what was trained before ``error``, if it is worth it and can be done.

    Returns:
        What is saved, in a sentence.
    """
    known = isinstance(error, (ValueError, TrainingDivergedError))  # shown by the script
    if known or is_write_error(error) or is_lost_process(error):
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
        except (OSError, RuntimeError) as reason:  # a full disk; a device that is lost
            logger.error("The weights could not be saved: %s", reason)
    last = Path(trainer.checkpointer.get_checkpoint_file()).name or "none"
    return f"Iteration {trainer.iter} could not be saved; the last whole checkpoint is {last}"
