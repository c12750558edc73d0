"""Configurations: the keys of d2seg with their defaults, reading and checks."""

from .defaults import add_d2seg_config

__all__ = ["add_d2seg_config"]
