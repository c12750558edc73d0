#!/usr/bin/env python
"""Write the table by which ``d2seg.load`` recognises published models from their tensors.

    python tools/index_models.py

builds the model of every published config, which takes some minutes, and writes
projects/d2seg/prediction/published_models.json. Call it after a change to configs/.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from tqdm import tqdm

from d2seg.checkpoint.compatibility import is_optional
from d2seg.config.loading import load_config
from d2seg.data.class_metadata import class_metadata, to_plain
from d2seg.prediction.identification import INDEX_FILE

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# of this project's own runs, for which there is no checkpoint of others
UNPUBLISHED = ("shapes_", "_small", "_overfit", "_short")
Shapes = dict[str, tuple[int, ...]]


def published_configs() -> list[str]:
    """As "method/name", in order."""
    names = (path.relative_to(CONFIGS) for path in CONFIGS.glob("*/*.yaml"))
    return sorted(
        name.with_suffix("").as_posix()
        for name in names
        if not name.parts[0].startswith("_")
        and not name.name.startswith("_")
        and not any(part in name.stem for part in UNPUBLISHED)
    )


@contextmanager
def without_values() -> Iterator[None]:
    """Parameters keep what is in their memory: to fill all of it takes a quarter of an hour."""
    names = [
        f"torch.nn.init.{name}" for name in dir(torch.nn.init) if name.strip("_") + "_" == name
    ]
    with ExitStack() as stack:
        for name in [*names, "timm.layers.weight_init._trunc_normal_"]:
            stack.enter_context(patch(name, lambda tensor, *args, **kwargs: tensor))
        yield


def shapes_of(cfg: CfgNode) -> Shapes:
    """Names and shapes of what every checkpoint of the config's model has; tables of positions are
    left out, whose size may change."""
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.TIMM.PRETRAINED = cfg.MODEL.VIT.PRETRAINED = False
    with without_values():
        state = build_model(cfg).state_dict()
    return {
        name: tuple(tensor.shape)
        for name, tensor in state.items()
        if not is_optional(name) and not name.endswith("pos_embed")
    }


def inference_part(cfg: CfgNode) -> str:
    """All of a config that matters to a result."""
    cfg = cfg.clone()
    cfg.MODEL.WEIGHTS = cfg.MODEL.DEVICE = ""
    sizes = {key: value for key, value in cfg.INPUT.items() if "TEST" in key or "SIZE" in key}
    parts = [cfg.MODEL.dump(), list(cfg.TEST.TASKS), sizes, to_plain(class_metadata(cfg))]
    return json.dumps(parts, sort_keys=True, default=str)


def telling_tensors(models: list[Shapes]) -> list[str]:
    """Few names whose shapes tell all different models apart: each time the one that leaves the
    most kinds; and one of every part of a model, which others will hardly have."""
    chosen: list[str] = []
    distinct = len({frozenset(shapes.items()) for shapes in models})
    names = sorted({name for shapes in models for name in shapes})

    def num_kinds(more: list[str]) -> int:
        return len({tuple(shapes.get(name) for name in chosen + more) for shapes in models})

    while not chosen or num_kinds([]) < distinct:
        chosen.append(max(names, key=lambda name: num_kinds([name])))
    parts = {name.partition(".")[0] for name in names}
    missing = parts - {name.partition(".")[0] for name in chosen}
    return chosen + [
        next(name for name in names if name.startswith(f"{part}.")) for part in sorted(missing)
    ]


def index_method(configs: dict[str, CfgNode]) -> dict[str, Any]:
    """The entry of one method in the table, from {name: config}."""
    shapes = {name: shapes_of(cfg) for name, cfg in tqdm(configs.items(), leave=False)}
    tensors = telling_tensors(list(shapes.values()))
    kinds: dict[tuple, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, cfg in configs.items():
        kind = tuple(shapes[name].get(tensor) for tensor in tensors)
        kinds[kind][inference_part(cfg)].append(name)
    models = [
        {"shapes": kind, "configs": list(variants.values())} for kind, variants in kinds.items()
    ]
    return {"tensors": tensors, "models": models}


def main() -> int:
    """
    Returns:
        The exit code.
    """
    methods: dict[str, dict[str, CfgNode]] = defaultdict(dict)
    for name in published_configs():
        methods[name.partition("/")[0]][name] = load_config(str(CONFIGS / f"{name}.yaml"))
    index = {method: index_method(configs) for method, configs in tqdm(methods.items())}
    INDEX_FILE.write_text(json.dumps(index, separators=(",", ":")) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
