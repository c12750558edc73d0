"""Training and evaluation: set-up, launch, steps, hooks."""

from .launch import run
from .setup import setup
from .trainer import Trainer

__all__ = ["Trainer", "run", "setup"]
