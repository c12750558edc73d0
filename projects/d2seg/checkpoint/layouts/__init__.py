"""Layouts of foreign checkpoints: one module each, with a ``LAYOUT``.

A new layout is a new module in this folder; nothing lists it by hand. Modules without a ``LAYOUT``
hold what several share.
"""

from collections.abc import Set
from importlib import import_module
from pkgutil import iter_modules

from .layout import Export, Layout

__all__ = ["LAYOUTS", "Export", "Layout", "find_layout"]

_MODULES = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
LAYOUTS: list[Layout] = [module.LAYOUT for module in _MODULES if hasattr(module, "LAYOUT")]


def find_layout(names: Set[str]) -> Layout | None:
    """The layout that the names in a file belong to; ``None`` for d2seg's and detectron2's own."""
    return next((layout for layout in LAYOUTS if layout.matches(names)), None)
