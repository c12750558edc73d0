"""Parts of a model that a config names and nothing has registered: what is said of them."""

import difflib
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY

_UNREGISTERED = re.compile(r"No object named '(?P<name>.*)' found in '(?P<registry>.*)' registry!")


def check_registered(cfg: CfgNode) -> None:
    """See that the meta-architecture and the backbone are there, before anything takes time.

    Raises:
        ValueError: nothing of that name is registered; the message has the nearest one.
    """
    for key, name, registry in (
        ("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY),
        ("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY),
    ):
        if name not in registry:
            known = (known for known, _ in registry)
            raise ValueError(f"{key} is '{name}', {_unregistered(cfg, name, known)}")


@contextmanager
def naming_parts(cfg: CfgNode) -> Iterator[None]:
    """Within, a model is built: what no registry has becomes a ``ValueError`` of one line."""
    try:
        yield
    except KeyError as error:
        found = _UNREGISTERED.search(str(error))
        if found is None:
            raise
        name, registry = found["name"], found["registry"]
        raise ValueError(
            f"the model needs '{name}' of the registry {registry}, {_unregistered(cfg, name)}"
        ) from error


def _unregistered(cfg: CfgNode, name: str, known: Iterable[str] = ()) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    hint = f" (the nearest is '{near[0]}')" if near else ""
    absent = [module for module in cfg.IMPORTS if module not in sys.modules]
    if absent:  # a config from a checkpoint, since load_config imports them
        return (
            f"which nothing has registered{hint}; its training imported {', '.join(absent)}, which "
            f"a checkpoint must not do by itself: if you trust it, write import {absent[0]} first"
        )
    return (
        f"which nothing has registered{hint}; name the module that does it by --import or in "
        "IMPORTS"
    )
