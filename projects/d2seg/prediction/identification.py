"""Which published config a checkpoint's tensors belong to.

``published_models.json`` has, for each method, a few tensors that tell its models apart, and for
each model their shapes and the configs that build it. ``tools/index_models.py`` writes it from
configs/; ``tests/test_configs.py`` holds it against them. A tensor's shape is None where a model
has none of the name.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from torch import Size

from ..checkpoint.compatibility import classes_of_head
from ..checkpoint.conversion import to_d2seg
from ..checkpoint.layouts import LAYOUTS, Layout
from ..config.tasks import TASKS
from ..config.zoo import configs_folder

INDEX_FILE = Path(__file__).with_name("published_models.json")
Shapes = Mapping[str, Size | tuple[int, ...]]


def identify(content: Mapping[str, Any], source: str, task: str | None) -> Path:
    """The file of the only published config that fits.

    Args:
        content: of ``read_checkpoint``.
        source: what the user calls the checkpoint.
        task: decides between configs of one model; None: no task in particular.

    Raises:
        ValueError: the tensors are of no known layout, a backbone's alone, of no published model,
            or of several; what to do is said.
    """
    state, layout = to_d2seg(content["model"])
    shapes = {name: tensor.shape for name, tensor in state.items()}
    candidates = matching_configs(shapes)
    if not candidates:
        raise ValueError(f"{source}: its {len(shapes)} tensors {_advice(layout, shapes)}")
    chosen = [names for names in candidates if task and f"_{task}_" in names[0]] or candidates
    if len(chosen) > 1:
        names = [names[0] for names in chosen]
        tasks = [t for t in TASKS if any(f"_{t}_" in name for name in names)]
        by_task = f"task= (of {', '.join(tasks)}) or " if not task and len(tasks) > 1 else ""
        raise ValueError(
            f"{source} fits {len(names)} configs, {', '.join(names)}: say which by {by_task}config="
        )
    return configs_folder() / f"{chosen[0][0]}.yaml"


def matching_configs(shapes: Shapes, *, any_classes: bool = False) -> list[list[str]]:
    """Names of configs whose model has tensors of these names and shapes, as "method/name".

    Args:
        any_classes: the number of classes may be another.

    Returns:
        Lists of those that differ in nothing that matters to pictures, only in their training.
    """
    found = []
    for method in _index().values():
        theirs = [shapes.get(name) for name in method["tensors"]]
        for model in method["models"]:
            if any(theirs) and all(
                _agree(name, ours, shape, any_classes)
                for name, ours, shape in zip(
                    method["tensors"], model["shapes"], theirs, strict=True
                )
            ):
                found += model["configs"]
    return found


@cache
def _index() -> dict[str, Any]:
    return json.loads(INDEX_FILE.read_text())


def _agree(
    name: str, ours: list[int] | None, theirs: Size | tuple[int, ...] | None, any_classes: bool
) -> bool:
    if ours is None or theirs is None:
        return ours is None and theirs is None
    if any_classes and classes_of_head(name, 0) is not None:
        return ours[1:] == list(theirs)[1:]
    return ours == list(theirs)


def _advice(layout: Layout | None, shapes: Shapes) -> str:
    """What to say of tensors that fit no config."""
    if layout is not None and layout.backbone_only:
        return (
            f"are those of {layout.name}, a backbone alone; give it as MODEL.WEIGHTS of a training"
        )
    others = matching_configs(shapes, any_classes=True)
    if others:
        fitting = ", ".join(names[0] for names in others[:3])
        heads = (classes_of_head(name, shape[0]) for name, shape in shapes.items() if len(shape))
        number, key = next(head for head in heads if head is not None)
        return (
            f"fit the models of {fitting}, but for {number} classes: give config="
            f'd2seg.load_config("{others[0][0]}", ["{key}", "{number}"]), or another one with that '
            "number"
        )
    if layout is not None:
        return f"are those of {layout.name}, but fit no published config; give config="
    known = ", ".join(sorted({each.name for each in LAYOUTS if not each.backbone_only}))
    first = ", ".join(list(shapes)[:2])
    return (
        f"are of no known layout (the first: {first}); known are {known}, and with config= d2seg's"
    )
