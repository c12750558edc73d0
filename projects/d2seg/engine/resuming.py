"""What a run must have in common with the checkpoint that it goes on from, and its record."""

import contextlib
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.projects.deeplab.lr_scheduler import WarmupPolyLR
from detectron2.solver import LRMultiplier, LRScheduler
from detectron2.utils.events import EventStorage

logger = logging.getLogger(__name__)

_SETTINGS = ("initial_lr", "weight_decay", "momentum", "nesterov", "betas", "eps")
_WINDOW = 20  # values of which detectron2's writers take the median


def circumstances(cfg: CfgNode, num_images: int | None) -> dict[str, Any]:
    """What decides about the course of a run besides its weights, for its checkpoints."""
    return {
        "DATASETS.TRAIN": list(cfg.DATASETS.TRAIN),
        "number of images": num_images,
        "SEED": cfg.SEED,
        "SOLVER.IMS_PER_BATCH": cfg.SOLVER.IMS_PER_BATCH,
        "SOLVER.ACCUMULATE_STEPS": cfg.SOLVER.ACCUMULATE_STEPS,
        "SOLVER.OPTIMIZER": cfg.SOLVER.OPTIMIZER.upper(),
        "SOLVER.LR_SCHEDULER_NAME": cfg.SOLVER.LR_SCHEDULER_NAME,
        "SOLVER.MAX_ITER": cfg.SOLVER.MAX_ITER,
        "SOLVER.AMP.ENABLED": cfg.SOLVER.AMP.ENABLED,
        "SOLVER.EMA.ENABLED": cfg.SOLVER.EMA.ENABLED,
    }


def warn_of_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Log what has changed since the checkpoint. The seed of the checkpoint goes on counting."""
    changes = [
        f"{key} was {then[key]} and is {value}"
        for key, value in now.items()
        if key in then and then[key] != value
    ]
    if changes:
        logger.warning(
            "This run is resumed under other circumstances, so it is not the one that was "
            "interrupted: %s",
            "; ".join(changes),
        )
    if then.get("SEED", now["SEED"]) != now["SEED"]:
        logger.warning("The seed of the checkpoint counts, not SEED %s", now["SEED"])


def check_optimizer_state(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Compare the state of an optimizer in a checkpoint with the optimizer that shall have it.

    torch loads any state whose number of parameters fits; the step after it fails, or crashes.

    Raises:
        ValueError: it is of another kind of optimizer, or of other parameters.
    """
    remedy = (
        "go on with the config of that run, or train anew from its weights: MODEL.WEIGHTS, another "
        "OUTPUT_DIR, no --resume"
    )
    groups = state.get("param_groups") if isinstance(state, dict) else None
    values = state.get("state") if isinstance(state, dict) else None
    if not isinstance(groups, list) or not groups or not isinstance(values, dict):
        raise ValueError(f"the checkpoint holds no state of an optimizer; {remedy}")
    kinds = [_kind(group) for group in (groups[0], optimizer.param_groups[0])]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"the checkpoint is of a run with the optimizer {kinds[0]}, the config's "
            f"SOLVER.OPTIMIZER is {kinds[1]}; {remedy}"
        )
    then, now = ([len(g["params"]) for g in gs] for gs in (groups, optimizer.param_groups))
    if then != now:
        raise ValueError(
            f"the optimizer's groups have {then} parameters in the checkpoint and {now} in the "
            f"config's model; {remedy}"
        )
    ours = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    theirs = [number for group in groups for number in group["params"]]
    for parameter, number in zip(ours, theirs, strict=True):
        for name, value in values.get(number, {}).items():
            if not isinstance(value, torch.Tensor):
                continue
            what = f"the optimizer's '{name}' of parameter {number} in the checkpoint"
            if value.dim() > 0 and value.shape != parameter.shape:
                shapes = f"{tuple(value.shape)}, the parameter {tuple(parameter.shape)}"
                raise ValueError(f"{what} has the shape {shapes}; {remedy}")
            if not is_finite(value):
                raise ValueError(f"{what} is not finite; {remedy}")


def settings_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """What each group of parameters was built with: rates, decay, moments."""
    return [
        {key: value for key, value in group.items() if key not in ("params", "lr")}
        for group in optimizer.param_groups
    ]


def obey_config(
    optimizer: torch.optim.Optimizer, scheduler: LRScheduler, ours: list[dict[str, Any]]
) -> None:
    """Let the config of a resumed run count for its rates, which a state that was loaded has
    replaced by those of the checkpoint, and log what has changed.

    Args:
        scheduler: its rates follow where they are a formula of the iteration, as detectron2's are.
        ours: of :func:`settings_of`, before the state was loaded.
    """
    changes: dict[str, str] = {}
    for group, settings in zip(optimizer.param_groups, ours, strict=True):
        for key, value in settings.items():
            if key in _SETTINGS and group.get(key) != value:
                changes.setdefault(key, f"{key} was {group.get(key)} and is {value}")
            group[key] = value
    if not changes:
        return
    if isinstance(scheduler, LRMultiplier | WarmupPolyLR):
        scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        for group, rate in zip(optimizer.param_groups, scheduler.get_lr(), strict=True):
            group["lr"] = rate
    logger.warning("The config's optimizer counts from here on: %s", "; ".join(changes.values()))


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers are; by their sum, for ``isfinite`` takes as long as writing a file."""
    if not tensor.is_floating_point():
        return True
    precise = torch.promote_types(tensor.dtype, torch.float32)
    return math.isfinite(tensor.detach().sum(dtype=precise)) or bool(tensor.isfinite().all())


def _kind(group: Mapping[str, Any]) -> str:
    return "ADAMW" if "betas" in group else "SGD" if "momentum" in group else "of another kind"


def history(storage: EventStorage, iteration: int) -> dict[str, Any]:
    """The last values of each scalar up to ``iteration``, of which the writers show the median.
    Those after it are of a step that failed, and will be taken again."""
    return {
        name: {
            "values": [[float(value), int(at)] for value, at in buffer.values() if at <= iteration][
                -_WINDOW:
            ],
            "smoothed": bool(storage.smoothing_hints()[name]),
        }
        for name, buffer in storage.histories().items()
    }


def restore_history(storage: EventStorage, saved: Mapping[str, Any]) -> None:
    """Put back what :func:`history` gave, without writing any of it again."""
    for name, scalar in saved.items():
        for value, at in scalar["values"]:
            storage.histories()[name].update(value, at)
        storage.smoothing_hints()[name] = scalar["smoothed"]


def trim_metrics(file: Path, start: int) -> None:
    """Leave one line for each iteration before ``start`` in a ``metrics.json``: those after it are
    of steps that are trained again, and a line that was cut off is of a run that was killed."""
    if not file.is_file():
        return
    lines: dict[int, str] = {}
    content = file.read_text(encoding="utf-8", errors="replace")
    for line in content.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            iteration = json.loads(line)["iteration"]
            if iteration < start:
                lines[iteration] = line
    kept = "".join(f"{line}\n" for line in lines.values())
    if kept != content:
        with file.open("r+", encoding="utf-8") as opened:  # in place: a writer has it open
            opened.write(kept)
            opened.truncate()
