"""Optimizer and learning-rate schedule from a config, and the scaling of both to a batch size.

``config/checks.py`` has seen to it that the config's names and numbers can be.
"""

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.projects.deeplab.lr_scheduler import WarmupPolyLR
from detectron2.solver import LRScheduler, get_default_optimizer_params
from detectron2.solver import build_lr_scheduler as build_d2_lr_scheduler
from detectron2.solver.build import reduce_param_groups
from detectron2.solver.lr_scheduler import _get_warmup_factor_at_iter
from torch import Tensor, nn

from ..registries import LR_SCHEDULERS, OPTIMIZERS
from .muon import MuonWithAdamW

logger = logging.getLogger(__name__)

# Tables of positions that are plain parameters: those of detectron2's Swin and ViT, and of timm's
# models. Embeddings that are modules are found by their type.
_POSITION_TABLES = frozenset(
    ("relative_position_bias_table", "absolute_pos_embed", "pos_embed", "rel_pos_h", "rel_pos_w")
)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SOLVER.OPTIMIZER over the trainable parameters of ``model`` (not wrapped for distribution).

    Weight decay is WEIGHT_DECAY_EMBED for embeddings and tables of positions, WEIGHT_DECAY_NORM for
    norms, WEIGHT_DECAY_BIAS (if set) for biases, and else WEIGHT_DECAY. The learning rate of what
    lies under ``backbone.`` is multiplied by BACKBONE_MULTIPLIER, that of biases by BIAS_LR_FACTOR.
    Parameters that agree in both share a group, and a fused step does each group at once. "MUON"
    takes matrices by Muon, at MUON_LR_FACTOR times their rate, and all else by AdamW.

    It does not clip gradients: that is left to the training step (:func:`gradient_clip`).

    Raises:
        ValueError: a model without trainable parameters.
    """
    solver = cfg.SOLVER
    groups = _parameter_groups(cfg, model)
    if not groups:
        raise ValueError("the model has no trainable parameter: nothing to optimize")
    if solver.OPTIMIZER in OPTIMIZERS:
        return OPTIMIZERS.get(solver.OPTIMIZER)(cfg, groups)
    on_fused_device = all(p.device.type in ("cpu", "cuda") for p in model.parameters())
    fast = {"fused" if on_fused_device else "foreach": True}
    name = solver.OPTIMIZER.upper()
    if name == "MUON":
        return MuonWithAdamW(groups, solver.MUON_LR_FACTOR, _embeddings(model), **fast)
    kwargs: dict[str, Any] = {"lr": solver.BASE_LR, "weight_decay": solver.WEIGHT_DECAY, **fast}
    if name == "SGD":
        kwargs.update(momentum=solver.MOMENTUM, nesterov=solver.NESTEROV)
    return {"SGD": torch.optim.SGD, "ADAMW": torch.optim.AdamW}[name](groups, **kwargs)


class GradientClip(NamedTuple):
    """How gradients are limited, called with the parameters that have one and, where it is known,
    the L2 norm of all gradients together.

    ``type`` is "full_model" (the norm of all together is at most ``limit``), "norm" (that of each
    parameter) or "value" (each number's magnitude). detectron2's clipping optimizer knows the last
    two only, parameter by parameter, and its "value" fails on a parameter without a gradient.
    """

    type: str
    limit: float
    norm_type: float

    def __call__(self, parameters: list[nn.Parameter], norm: Tensor | None = None) -> None:
        if self.type == "full_model":
            if norm is None or self.norm_type != 2.0:
                norm = nn.utils.get_total_norm([p.grad for p in parameters], self.norm_type)
            nn.utils.clip_grads_with_norm_(parameters, self.limit, norm)
        elif self.type == "value":
            nn.utils.clip_grad_value_(parameters, self.limit)
        else:
            assert self.type == "norm", self.type
            for parameter in parameters:
                nn.utils.clip_grad_norm_(parameter, self.limit, self.norm_type)


def gradient_clip(cfg: CfgNode) -> GradientClip | None:
    """What SOLVER.CLIP_GRADIENTS asks for."""
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if not clip.ENABLED:
        return None
    return GradientClip(clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE)


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """SOLVER.LR_SCHEDULER_NAME: "WarmupPolyLR", one of detectron2's with steps or a cosine, or a
    registered one."""
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME in LR_SCHEDULERS:
        return LR_SCHEDULERS.get(solver.LR_SCHEDULER_NAME)(cfg, optimizer)
    if solver.LR_SCHEDULER_NAME != "WarmupPolyLR":
        cfg = cfg.clone()
        cfg.defrost()  # a step at the very end, which would have no effect, is an error there
        cfg.SOLVER.STEPS = tuple(step for step in solver.STEPS if step < solver.MAX_ITER)
        return build_d2_lr_scheduler(cfg, optimizer)
    return _PolyLR(
        optimizer,
        solver.MAX_ITER,
        warmup_factor=solver.WARMUP_FACTOR,
        warmup_iters=solver.WARMUP_ITERS,
        warmup_method=solver.WARMUP_METHOD,
        power=solver.POLY_LR_POWER,
        constant_ending=solver.POLY_LR_CONSTANT_ENDING,
        lr_end=solver.BASE_LR_END,
    )


def auto_scale(cfg: CfgNode) -> CfgNode:
    """``cfg`` adapted from AUTO_SCALE.REFERENCE_BATCH_SIZE to its own IMS_PER_BATCH.

    Without AUTO_SCALE.ENABLED it is left alone. With r the quotient of the two, learning rates are
    multiplied by r and everything counted in iterations divided by it (Goyal et al. 2017, section
    2.1, and an equal number of epochs). The result is written for its own batch size, so that
    scaling it again changes nothing.
    """
    solver = cfg.SOLVER
    if not solver.AUTO_SCALE.ENABLED:
        return cfg
    reference = solver.AUTO_SCALE.REFERENCE_BATCH_SIZE
    ratio = solver.IMS_PER_BATCH / reference
    if ratio == 1:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    changes = []

    def change(node: CfgNode, key: str, name: str, value: Any) -> None:
        changes.append(f"{name} {node[key]} -> {value}")
        node[key] = value

    def iterations(number: int) -> int:
        return max(1, round(number / ratio)) if number > 0 else number

    solver = cfg.SOLVER
    for key in ("BASE_LR", "BASE_LR_END"):
        change(solver, key, f"SOLVER.{key}", solver[key] * ratio)
    for key in ("MAX_ITER", "WARMUP_ITERS", "CHECKPOINT_PERIOD"):
        change(solver, key, f"SOLVER.{key}", iterations(solver[key]))
    change(solver, "STEPS", "SOLVER.STEPS", tuple(iterations(step) for step in solver.STEPS))
    change(cfg.TEST, "EVAL_PERIOD", "TEST.EVAL_PERIOD", iterations(cfg.TEST.EVAL_PERIOD))
    solver.AUTO_SCALE.REFERENCE_BATCH_SIZE = solver.IMS_PER_BATCH
    logger.info(
        "SOLVER.AUTO_SCALE from a batch of %d to one of %d: %s",
        reference,
        solver.IMS_PER_BATCH,
        ", ".join(changes),
    )
    return cfg


class _PolyLR(WarmupPolyLR):
    """Decays towards SOLVER.BASE_LR_END, where that is not 0. It keeps no settings in its state, so
    that a resumed run obeys the config that it is given."""

    def __init__(self, optimizer: torch.optim.Optimizer, *args, lr_end: float, **kwargs) -> None:
        """``lr_end``: of all parameter groups alike; what a group's rate has above it decays, and
        the warm-up applies to both (mmcv's ``min_lr``, as in SETR's recipes)."""
        self.lr_end = lr_end
        super().__init__(optimizer, *args, **kwargs)

    def get_lr(self) -> list[float]:
        if not self.lr_end:
            return super().get_lr()
        warmup = _get_warmup_factor_at_iter(
            self.warmup_method, self.last_epoch, self.warmup_iters, self.warmup_factor
        )
        decay = (1 - self.last_epoch / self.max_iters) ** self.power
        # a group below the end, for example one that is frozen by a rate of 0, stays where it is
        ends = [min(base, self.lr_end) for base in self.base_lrs]
        return [
            warmup * ((base - end) * decay + end)
            for base, end in zip(self.base_lrs, ends, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}


def _parameter_groups(cfg: CfgNode, model: nn.Module) -> list[dict[str, Any]]:
    solver = cfg.SOLVER

    def lr_factor(name: str) -> float:
        factor = solver.BACKBONE_MULTIPLIER if name.startswith("backbone.") else 1.0
        return factor * (solver.BIAS_LR_FACTOR if name.endswith(".bias") else 1.0)

    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        lr_factor_func=lr_factor,
    )
    # what a later group says about a parameter overrides what an earlier one does
    bias_is_apart = solver.WEIGHT_DECAY_BIAS is not None
    norms = [p for name, p in _unlisted_norms(model) if not (name == "bias" and bias_is_apart)]
    groups.append({"params": norms, "weight_decay": solver.WEIGHT_DECAY_NORM})
    groups.append({"params": list(_embeddings(model)), "weight_decay": solver.WEIGHT_DECAY_EMBED})
    return reduce_param_groups(groups)


def _embeddings(model: nn.Module) -> Iterator[nn.Parameter]:
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_table = name in _POSITION_TABLES or isinstance(module, nn.Embedding)
            if is_table and parameter.requires_grad:
                yield parameter


def _unlisted_norms(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters of norms that detectron2 does not list, as its own LayerNorm, or RMSNorm."""
    for module in model.modules():
        if "Norm" in type(module).__name__:
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.requires_grad:
                    yield name, parameter
