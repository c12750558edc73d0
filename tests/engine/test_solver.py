"""d2seg.engine.solver: parameter groups, schedules by hand, scaling to another batch size."""

import logging

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers.batch_norm import LayerNorm as ChannelLayerNorm
from torch import nn
from toy_training import toy_cfg

from d2seg.engine.solver import auto_scale, build_lr_scheduler, build_optimizer, gradient_clip


class Model(nn.Module):
    """A parameter of each kind, inside and outside of the backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict(
            {"conv": nn.Conv2d(1, 1, 1), "norm": nn.LayerNorm(2), "frozen": nn.Linear(1, 1)}
        )
        self.backbone.relative_position_bias_table = nn.Parameter(torch.zeros(3))
        self.backbone.absolute_pos_embed = nn.Parameter(torch.zeros(4))
        self.backbone["frozen"].requires_grad_(False)
        self.head = nn.ModuleDict(
            {
                "linear": nn.Linear(2, 2),
                "norm": nn.GroupNorm(1, 2),
                "channel_norm": ChannelLayerNorm(2),
                "queries": nn.Embedding(5, 2),
            }
        )


def settings(cfg: CfgNode, model: nn.Module) -> dict[str, tuple[float, float]]:
    """(learning rate, weight decay) that each parameter gets."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {}
    for group in build_optimizer(cfg, model).param_groups:
        for parameter in group["params"]:
            assert names[parameter] not in found
            found[names[parameter]] = (group["lr"], group["weight_decay"])
    return found


@pytest.fixture
def cfg(tmp_path) -> CfgNode:
    return toy_cfg(
        tmp_path,
        *("SOLVER.BASE_LR", 1.0, "SOLVER.WEIGHT_DECAY", 0.5, "SOLVER.WEIGHT_DECAY_NORM", 0.25),
        *("SOLVER.WEIGHT_DECAY_EMBED", 0.125, "SOLVER.BACKBONE_MULTIPLIER", 0.1),
    )


def test_every_parameter_gets_its_rate_and_decay(cfg):
    assert settings(cfg, Model()) == {
        "backbone.relative_position_bias_table": (0.1, 0.125),
        "backbone.absolute_pos_embed": (0.1, 0.125),
        "backbone.conv.weight": (0.1, 0.5),
        "backbone.conv.bias": (0.1, 0.5),
        "backbone.norm.weight": (0.1, 0.25),
        "backbone.norm.bias": (0.1, 0.25),
        "head.linear.weight": (1.0, 0.5),
        "head.linear.bias": (1.0, 0.5),
        "head.norm.weight": (1.0, 0.25),
        "head.norm.bias": (1.0, 0.25),
        "head.channel_norm.weight": (1.0, 0.25),
        "head.channel_norm.bias": (1.0, 0.25),
        "head.queries.weight": (1.0, 0.125),
    }
    assert len(build_optimizer(cfg, Model()).param_groups) == 6  # as many as different pairs


def test_biases_of_their_own(cfg):
    cfg.merge_from_list(["SOLVER.BIAS_LR_FACTOR", 2.0, "SOLVER.WEIGHT_DECAY_BIAS", 0.0])
    found = settings(cfg, Model())
    assert found["backbone.conv.bias"] == (0.2, 0.0)
    assert found["head.norm.bias"] == (2.0, 0.0)
    assert found["head.channel_norm.bias"] == (2.0, 0.0)
    assert found["head.channel_norm.weight"] == (1.0, 0.25)


@pytest.mark.parametrize("name", ["SGD", "ADAMW", "adamw"])
def test_steps_of_merged_groups_equal_those_of_single_parameters(cfg, name):
    cfg.merge_from_list(["SOLVER.OPTIMIZER", name, "SOLVER.NESTEROV", True])
    ours, plain = Model(), Model()
    plain.load_state_dict(ours.state_dict())
    found = settings(cfg, plain)
    groups = [
        {"params": [p], "lr": found[n][0], "weight_decay": found[n][1]}
        for n, p in plain.named_parameters()
        if n in found
    ]
    kwargs = {"momentum": 0.9, "nesterov": True} if name == "SGD" else {}
    make = torch.optim.SGD if name == "SGD" else torch.optim.AdamW
    optimizers = [build_optimizer(cfg, ours), make(groups, lr=1.0, foreach=False, **kwargs)]
    for step in range(3):
        for model, optimizer in zip((ours, plain), optimizers, strict=True):
            generator = torch.Generator().manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
    for (key, a), b in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, msg=key)


@pytest.mark.parametrize(
    ("clip_type", "expected"),
    [
        ("full_model", [[0.3, 0.4], [1.2]]),
        ("norm", [[0.78, 1.04], [1.3]]),
        ("value", [[1.3, 1.3], [1.3]]),
    ],
)
@pytest.mark.parametrize("norm", [None, 13.0])
def test_clip_types(cfg, clip_type, expected, norm):
    """Gradients (3, 4) and 12, of norms 5, 12 and together 13; limit 1.3."""
    a, b = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    a.grad, b.grad = torch.tensor([3.0, 4.0]), torch.tensor([12.0])
    assert gradient_clip(cfg) is None
    cfg.SOLVER.CLIP_GRADIENTS.merge_from_list(
        ["ENABLED", True, "CLIP_TYPE", clip_type, "CLIP_VALUE", 1.3, "NORM_TYPE", 2.0]
    )
    gradient_clip(cfg)([a, b], norm and torch.tensor(norm))
    torch.testing.assert_close(a.grad, torch.tensor(expected[0]), rtol=1e-5, atol=0)
    torch.testing.assert_close(b.grad, torch.tensor(expected[1]), rtol=1e-5, atol=0)


def test_nothing_to_train(cfg):
    with pytest.raises(ValueError, match="no trainable parameter"):
        build_optimizer(cfg, Model().requires_grad_(False))


def rates(cfg: CfgNode, *opts) -> list[float]:
    """The learning rate of each iteration, and the one after the last."""
    cfg.merge_from_list(["SOLVER.OPTIMIZER", "SGD", *opts])
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer)
    found = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [*found, optimizer.param_groups[0]["lr"]]


POLY = ("SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR", "SOLVER.MAX_ITER", 10)


def test_poly_without_warmup(cfg):
    found = rates(cfg, *POLY, "SOLVER.WARMUP_ITERS", 0, "SOLVER.POLY_LR_POWER", 0.9)
    assert found == pytest.approx([(1 - i / 10) ** 0.9 for i in range(10)] + [0.0])


def test_poly_with_warmup_and_constant_ending(cfg):
    found = rates(
        cfg,
        *POLY,
        *("SOLVER.WARMUP_ITERS", 4, "SOLVER.WARMUP_FACTOR", 0.5, "SOLVER.POLY_LR_POWER", 1.0),
        *("SOLVER.POLY_LR_CONSTANT_ENDING", 0.25),
    )
    warmup = [0.5 * 1.0, 0.625 * 0.9, 0.75 * 0.8, 0.875 * 0.7]
    assert found == pytest.approx([*warmup, 0.6, 0.5, 0.4, 0.3, 0.25, 0.25, 0.25])


def test_poly_with_an_end_other_than_zero(cfg):
    """mmcv's rule: warm-up times ((base - end) * decay + end)."""
    found = rates(
        cfg,
        *POLY,
        *("SOLVER.WARMUP_ITERS", 2, "SOLVER.WARMUP_FACTOR", 0.5, "SOLVER.POLY_LR_POWER", 1.0),
        *("SOLVER.BASE_LR_END", 0.2),
    )
    decayed = [0.8 * (1 - i / 10) + 0.2 for i in range(11)]
    assert found == pytest.approx([0.5 * decayed[0], 0.75 * decayed[1], *decayed[2:]])


def test_the_end_of_a_poly_schedule_is_that_of_all_groups(cfg):
    cfg.merge_from_list([*POLY, "SOLVER.WARMUP_ITERS", 0, "SOLVER.BASE_LR_END", 0.01])
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 0.1, 0.0)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    scheduler = build_lr_scheduler(cfg, optimizer)
    for _ in range(10):
        optimizer.step()
        scheduler.step()
    assert scheduler.get_last_lr() == pytest.approx([0.01, 0.01, 0.0])


def test_steps_without_warmup(cfg):
    found = rates(
        cfg,
        *("SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.MAX_ITER", 10),
        *("SOLVER.STEPS", (5, 8, 10, 30000), "SOLVER.WARMUP_ITERS", 0),
    )
    assert found == pytest.approx([1.0] * 5 + [0.1] * 3 + [0.01] * 3)


def test_cosine_with_warmup(cfg):
    found = rates(
        cfg,
        *("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.MAX_ITER", 4),
        *("SOLVER.WARMUP_ITERS", 1, "SOLVER.WARMUP_FACTOR", 0.5),
    )
    assert found[0] == pytest.approx(0.5)
    assert found[2] == pytest.approx(0.5)  # half the way of the cosine
    assert found[-1] == pytest.approx(0.0)


def test_a_resumed_poly_schedule_obeys_a_longer_max_iter(cfg):
    cfg.merge_from_list([*POLY, "SOLVER.WARMUP_ITERS", 0, "SOLVER.POLY_LR_POWER", 1.0])
    make = lambda: torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)  # noqa: E731
    first = build_lr_scheduler(cfg, make())
    for _ in range(10):
        first.optimizer.step()
        first.step()
    cfg.SOLVER.MAX_ITER = 20
    second = build_lr_scheduler(cfg, make())
    second.load_state_dict(first.state_dict())
    second.optimizer.step()
    second.step()
    assert second.get_last_lr() == [pytest.approx(1 - 11 / 20)]


def test_auto_scale(cfg, caplog):
    cfg.merge_from_list(
        [
            *("SOLVER.IMS_PER_BATCH", 4, "SOLVER.AUTO_SCALE.ENABLED", True),
            *("SOLVER.BASE_LR", 0.8, "SOLVER.MAX_ITER", 1000, "SOLVER.STEPS", (600, 900)),
            *("SOLVER.WARMUP_ITERS", 0, "SOLVER.CHECKPOINT_PERIOD", 100, "TEST.EVAL_PERIOD", 0),
        ]
    )
    cfg.freeze()
    with caplog.at_level(logging.INFO, "d2seg"):
        scaled = auto_scale(cfg)
    solver = scaled.SOLVER
    assert (solver.BASE_LR, solver.MAX_ITER, solver.STEPS) == (0.2, 4000, (2400, 3600))
    assert (solver.WARMUP_ITERS, solver.CHECKPOINT_PERIOD, scaled.TEST.EVAL_PERIOD) == (0, 400, 0)
    assert "SOLVER.MAX_ITER 1000 -> 4000" in caplog.text
    assert cfg.SOLVER.BASE_LR == 0.8
    assert auto_scale(scaled).SOLVER.BASE_LR == 0.2  # config.yaml of the output is used again


def test_auto_scale_is_off_by_default(cfg):
    assert auto_scale(cfg) is cfg
