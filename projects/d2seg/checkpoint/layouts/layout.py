"""What a layout of foreign parameter names is."""

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from ..naming import StateDict


@dataclass(frozen=True)
class Export:
    """Writing a model of d2seg in a foreign layout."""

    flavour: str  # what `tools/convert_checkpoint.py --to` calls it: "official", "huggingface", ...
    holds: str  # for messages: the models that this layout can hold
    matches: Callable[[Set[str]], bool]  # d2seg's names -> whether the model is one of those
    convert: Callable[[StateDict], StateDict]


@dataclass(frozen=True)
class Layout:
    """Names of one publisher. At most one layout matches a set of names."""

    name: str
    matches: Callable[[Set[str]], bool]  # names in the file -> whether they are of this layout
    # to d2seg's names; does not change its argument. A backbone's names begin with "backbone."
    convert: Callable[[StateDict], StateDict]
    backbone_only: bool = False  # an ImageNet model
    export: Export | None = None
    options: tuple[Any, ...] = ()  # keys and values that a config of such a model must have
