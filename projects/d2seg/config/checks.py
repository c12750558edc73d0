"""Values of a config with which nothing can run, found before anything starts.

Whether a config fits its data sets is asked in ``data/catalog.py``, whether its batch divides among
processes in ``data/build.py``.
"""

from collections.abc import Collection
from typing import Any

import torch
from detectron2.config import CfgNode

from ..registries import EVALUATORS, LR_SCHEDULERS, MAPPERS, OPTIMIZERS, SAMPLERS
from ..views import check_views
from .input_checks import check_input
from .parts import check_registered
from .stock_keys import check_stock_keys
from .tasks import tasks_of

_MOST_WORKERS = 1000  # more is a slip of the pen, which takes the machine down
CLIP_TYPES = ("full_model", "value", "norm")


def check_device(name: str) -> None:
    """See that MODEL.DEVICE can be had.

    Raises:
        ValueError: torch knows no such device, or has none here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"MODEL.DEVICE is '{name}', which torch does not know; add MODEL.DEVICE cpu or cuda to "
            "the command line"
        ) from error
    if device.type == "cuda":
        # counted, not tried: each of several processes would claim memory on the first device
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            choice = "MODEL.DEVICE cuda or MODEL.DEVICE cpu" if count else "MODEL.DEVICE cpu"
            raise ValueError(
                f"MODEL.DEVICE is '{name}', but torch sees {count} CUDA devices; add {choice} to "
                "the command line"
            )
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a backend that torch was built without
        raise ValueError(
            f"MODEL.DEVICE is '{name}', which is not available here; add MODEL.DEVICE cpu to the "
            "command line"
        ) from error


def check_values(cfg: CfgNode, *, training: bool, said: Collection[str] = ()) -> None:
    """See that the device, the number format and the settings of a training make sense.

    Args:
        training: evaluation needs none of SOLVER but its number format.
        said: keys that the command line or the file itself sets, see ``check_stock_keys``.

    Raises:
        ValueError: a value with which nothing can run.
    """
    check_device(cfg.MODEL.DEVICE)
    check_registered(cfg)
    check_stock_keys(cfg, said)
    check_input(cfg, training=training)
    if cfg.DATALOADER.NUM_WORKERS > _MOST_WORKERS:
        raise ValueError(
            f"DATALOADER.NUM_WORKERS is {cfg.DATALOADER.NUM_WORKERS}, and each is a process; it is "
            f"{_MOST_WORKERS} at most"
        )
    _check_precision(cfg)
    if cfg.TEST.TILES.ENABLED or cfg.TEST.AUG.ENABLED or cfg.TEST.TILES.MEMORY:
        check_views(cfg, tasks_of(cfg))
    for name in cfg.TEST.EVALUATORS:
        EVALUATORS.check(name)
    if training:
        _check_solver(cfg)
        _check_schedule(cfg)
        _check_data_and_selection(cfg)


def _check_precision(cfg: CfgNode) -> None:
    amp = cfg.SOLVER.AMP
    _one_of("SOLVER.AMP.DTYPE", amp.DTYPE, ("fp16", "bf16"))
    if amp.ENABLED and amp.DTYPE == "fp16" and torch.device(cfg.MODEL.DEVICE).type != "cuda":
        raise ValueError(
            f"SOLVER.AMP.DTYPE fp16 needs CUDA and MODEL.DEVICE is {cfg.MODEL.DEVICE}; set "
            "SOLVER.AMP.DTYPE bf16 or SOLVER.AMP.ENABLED False"
        )


def _check_solver(cfg: CfgNode) -> None:
    solver = cfg.SOLVER
    if solver.OPTIMIZER.upper() not in OPTIMIZERS.built_in:  # these in any case
        OPTIMIZERS.check(solver.OPTIMIZER)
    if solver.CLIP_GRADIENTS.ENABLED:
        _one_of("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", solver.CLIP_GRADIENTS.CLIP_TYPE, CLIP_TYPES)
    for key in ("IMS_PER_BATCH", "ACCUMULATE_STEPS", "MAX_BAD_STEPS"):
        _at_least_one(f"SOLVER.{key}", solver[key])
    if solver.AUTO_SCALE.ENABLED:
        key = "SOLVER.AUTO_SCALE.REFERENCE_BATCH_SIZE"
        _at_least_one(key, solver.AUTO_SCALE.REFERENCE_BATCH_SIZE)
    if solver.EMA.ENABLED and not 0 <= solver.EMA.DECAY < 1:
        raise ValueError(f"SOLVER.EMA.DECAY is {solver.EMA.DECAY}; it lies in [0, 1)")


def _check_schedule(cfg: CfgNode) -> None:
    solver = cfg.SOLVER
    LR_SCHEDULERS.check(solver.LR_SCHEDULER_NAME)
    for key in ("MAX_ITER", "CHECKPOINT_PERIOD"):
        _at_least_one(f"SOLVER.{key}", solver[key])
    is_poly = solver.LR_SCHEDULER_NAME == "WarmupPolyLR"
    if is_poly and solver.BASE_LR_END and solver.POLY_LR_CONSTANT_ENDING:
        raise ValueError(
            f"SOLVER.BASE_LR_END is {solver.BASE_LR_END} and POLY_LR_CONSTANT_ENDING "
            f"{solver.POLY_LR_CONSTANT_ENDING}; set one of them to 0"
        )


def _check_data_and_selection(cfg: CfgNode) -> None:
    test = cfg.TEST
    MAPPERS.check(cfg.INPUT.MAPPER)
    SAMPLERS.check(cfg.DATALOADER.SAMPLER_TRAIN)
    if not cfg.DATASETS.TRAIN:
        raise ValueError("DATASETS.TRAIN is empty; name a data set, or use --eval-only")
    if test.EARLY_STOPPING_PATIENCE > 0 and not (test.BEST_METRIC and test.EVAL_PERIOD > 0):
        raise ValueError(
            "TEST.EARLY_STOPPING_PATIENCE needs TEST.BEST_METRIC, and TEST.EVAL_PERIOD above 0"
        )
    if test.BEST_METRIC and not cfg.DATASETS.TEST:
        raise ValueError("TEST.BEST_METRIC needs a data set in DATASETS.TEST")


def _one_of(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{key} is '{value}'; it is one of {', '.join(choices)}")


def _at_least_one(key: str, value: Any) -> None:
    if value < 1:
        raise ValueError(f"{key} is {value}; it must be at least 1")
