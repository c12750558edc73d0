"""Training and evaluation: set-up, launch, steps, hooks."""

from .launch import run
from .prepare import setup
from .trainer import Trainer

__all__ = ["Trainer", "run", "setup"]
