"""What a run must have in common with the checkpoint that it goes on from."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from detectron2.config import CfgNode
from detectron2.projects.deeplab.lr_scheduler import WarmupPolyLR
from detectron2.solver import LRMultiplier, LRScheduler
from detectron2.utils import comm

from ..checkpoint.contents import is_finite
from ..checkpoint.plain_yaml import load_plain_yaml
from ..checkpoint.shown import brief
from ..config.description import ENTRY
from ..config.files import MAX_VALUES, leaves
from .muon import MuonWithAdamW

if TYPE_CHECKING:
    from .trainer import Trainer

logger = logging.getLogger(__name__)

_SETTINGS = ("initial_lr", "weight_decay", "momentum", "nesterov", "betas", "eps")
_REMEDY = (
    "go on with the config of that run, or train anew from its weights: MODEL.WEIGHTS, another "
    "OUTPUT_DIR, no --resume"
)
_MOMENTS = {
    "ADAMW": {"step", "exp_avg", "exp_avg_sq"},
    "SGD": {"momentum_buffer"},
    "MUON": {"momentum_buffer"},
}
_BUILT_IN = (torch.optim.AdamW, torch.optim.SGD, MuonWithAdamW)  # a user's may have other moments
_DECIDING = ("MODEL.", "INPUT.", "SOLVER.CLIP_GRADIENTS.", "SOLVER.EMA.DECAY", "SOLVER.AMP.DTYPE")
_OF_THE_MACHINE = ("MODEL.WEIGHTS", "MODEL.DEVICE")
_NUM_CHANGES = 8  # named in a message
_FORMULAS = (LRMultiplier, WarmupPolyLR)  # schedules whose rates follow from the iteration
# what code that expects another form of a state raises
_MALFORMED = (KeyError, TypeError, AttributeError, IndexError, AssertionError, RuntimeError)


def circumstances(cfg: CfgNode, num_images: int | None) -> dict[str, Any]:
    """What decides about the course of a run besides its weights, for its checkpoints."""
    return {
        "DATASETS.TRAIN": list(cfg.DATASETS.TRAIN),
        "number of images": num_images,
        "number of processes": comm.get_world_size(),
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
        f"{key} was {brief(str(then[key]))} and is {value}"
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


def warn_of_other_config(content: Any, cfg: CfgNode) -> None:
    """Log where the model, what it is given or how far a step goes is not set as in the checkpoint
    of ``content``, beside what :func:`circumstances` has."""
    try:
        then = dict(leaves(load_plain_yaml(content[ENTRY]["config"], MAX_VALUES)))
    except (ValueError, *_MALFORMED):  # of another program
        return
    now = dict(leaves(load_plain_yaml(cfg.dump(), MAX_VALUES)))
    changes = [
        f"{key} was {brief(repr(then[key]), 60)} and is {brief(repr(value), 60)}"
        for key, value in now.items()
        if key.startswith(_DECIDING)
        and key not in _OF_THE_MACHINE
        and then.get(key, value) != value
    ]
    if changes:
        more = f" and {len(changes) - _NUM_CHANGES} more" if len(changes) > _NUM_CHANGES else ""
        logger.warning(
            "The config has changed since the checkpoint: %s%s",
            "; ".join(changes[:_NUM_CHANGES]),
            more,
        )


def check_optimizer_state(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Compare the state of an optimizer in a checkpoint with the optimizer that shall have it.

    torch loads any state whose number of parameters fits; the step after it fails, or crashes.

    Raises:
        ValueError: it is of another kind of optimizer, or of other parameters.
    """
    groups = state.get("param_groups") if isinstance(state, dict) else None
    values = state.get("state") if isinstance(state, dict) else None
    if not isinstance(groups, list) or not groups or not isinstance(values, dict):
        raise ValueError(f"the checkpoint holds no state of an optimizer; {_REMEDY}")
    kinds = [_kind(group) for group in (groups[0], optimizer.param_groups[0])]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"the checkpoint is of a run with the optimizer {kinds[0]}, the config's "
            f"SOLVER.OPTIMIZER is {kinds[1]}; {_REMEDY}"
        )
    then, now = ([len(g["params"]) for g in gs] for gs in (groups, optimizer.param_groups))
    if then != now:
        raise ValueError(
            f"the optimizer's groups have {then} parameters in the checkpoint and {now} in the "
            f"config's model; {_REMEDY}"
        )
    _check_moments(optimizer, groups, values)


def _check_moments(optimizer: torch.optim.Optimizer, groups: list[dict], values: dict) -> None:
    ours = [(each, _kind(group)) for group in optimizer.param_groups for each in group["params"]]
    theirs = [number for group in groups for number in group["params"]]
    if set(theirs) != set(range(len(ours))) or not values.keys() <= set(theirs):
        raise ValueError(
            f"the optimizer's parameters in the checkpoint are not numbered; {_REMEDY}"
        )
    for (parameter, kind), number in zip(ours, theirs, strict=True):
        state = values.get(number, {})
        wanted = _MOMENTS.get(kind) if type(optimizer) in _BUILT_IN else None
        is_whole = wanted is None or all(
            _is_moment(name, state[name], parameter) for name in (wanted if state else ())
        )
        if not is_whole:
            raise ValueError(f"the optimizer's state of parameter {number} is damaged; {_REMEDY}")
        for name, value in state.items():
            if not isinstance(value, torch.Tensor):
                continue
            what = f"the optimizer's '{name}' of parameter {number} in the checkpoint"
            if value.dim() > 0 and value.shape != parameter.shape:
                shapes = f"{tuple(value.shape)}, the parameter {tuple(parameter.shape)}"
                raise ValueError(f"{what} has the shape {shapes}; {_REMEDY}")
            if not is_finite(value):
                raise ValueError(f"{what} is not finite; {_REMEDY}")


def _is_moment(name: str, value: Any, parameter: torch.nn.Parameter) -> bool:
    """Of the parameter's type, which torch would cast it to; counts and squares are 0 or more."""
    if not isinstance(value, torch.Tensor):
        return value is None
    if value.dim() > 0 and value.dtype != parameter.dtype:
        return False
    return name not in ("step", "exp_avg_sq") or not bool((value < 0).any())


@contextlib.contextmanager
def told_in_a_line() -> Iterator[None]:
    """For reading the state of a training: what has another form than it is a ``ValueError``."""
    try:
        yield
    except _MALFORMED as error:
        raise ValueError(
            "the state of the training in the checkpoint is damaged, or of another program "
            f"({type(error).__name__}: {brief(error)}); {_REMEDY}"
        ) from error


def check_training_state(state: Any, scheduler: LRScheduler, max_iter: int) -> None:
    """See that a checkpoint's iteration is one of this run, and that its schedule is there too.

    Raises:
        ValueError: it is not.
        KeyError, TypeError and others: the state has another form.
    """
    iteration, hooks = state["iteration"], state.get("hooks", {})
    if type(iteration) is not int or not 0 <= iteration < 2**31:
        raise ValueError(
            f"the checkpoint says that it is of iteration {brief(iteration, 40)}; {_REMEDY}"
        )
    if iteration >= max_iter:
        raise ValueError(
            f"the checkpoint is of iteration {iteration}, and SOLVER.MAX_ITER {max_iter} is behind "
            "it: nothing is left to train; raise SOLVER.MAX_ITER, or use --eval-only"
        )
    if isinstance(scheduler, _FORMULAS):
        epoch = hooks["LRScheduler"]["last_epoch"] if "LRScheduler" in hooks else None
        if epoch != iteration + 1:
            raise ValueError(
                f"the checkpoint is of iteration {iteration}, and its schedule of the learning "
                f"rate is {'missing' if epoch is None else f'at {brief(epoch, 40)}'}; {_REMEDY}"
            )
    for value in state.get("circumstances", {}).values():
        if not isinstance(value, str | int | float | list | None):
            raise TypeError("a circumstance is neither text nor a number")
    for name, scalar in state.get("history", {}).items():
        if not isinstance(name, str) or not name.isprintable():
            raise TypeError("a recorded value has no name")
        if not all([type(part) for part in pair] == [float, int] for pair in scalar["values"]):
            raise TypeError("a recorded value is no number of an iteration")
        if type(scalar["smoothed"]) is not bool:
            raise TypeError("a record is neither smoothed nor not")


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
    if isinstance(scheduler, _FORMULAS):
        scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        for group, rate in zip(optimizer.param_groups, scheduler.get_lr(), strict=True):
            group["lr"] = rate
    if changes:
        logger.warning(
            "The config's optimizer counts from here on: %s", "; ".join(changes.values())
        )


def _kind(group: Mapping[str, Any]) -> str:
    if "muon_momentum" in group:
        return "MUON"
    return "ADAMW" if "betas" in group else "SGD" if "momentum" in group else "of another kind"


def save_final_if_missing(trainer: "Trainer") -> None:
    """A run that was killed between its last periodic save and that of model_final has no iteration
    left in which it would be saved; nor has one whose model_final is damaged."""
    if not trainer.start_iter or trainer.start_iter != trainer.max_iter:
        return
    is_loaded = Path(trainer.checkpointer.source).name == "model_final.pth"
    if not is_loaded and comm.is_main_process():
        trainer.iter = trainer.start_iter - 1
        trainer.checkpointer.save("model_final", iteration=trainer.iter)
        trainer.iter = trainer.start_iter
