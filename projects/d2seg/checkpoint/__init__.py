"""Checkpoints: reading foreign layouts and formats safely, saving without loss."""

from .checkpointer import Checkpointer
from .files import CheckpointFileError

__all__ = ["CheckpointFileError", "Checkpointer"]
