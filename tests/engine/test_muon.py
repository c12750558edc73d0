"""d2seg.engine.muon: which parameters are whose, its steps against torch's, its state."""

import copy
import math

import pytest
import torch
from detectron2.config import CfgNode
from torch import nn
from toy_training import toy_cfg

from d2seg.engine.muon import orthogonal
from d2seg.engine.resuming import check_optimizer_state, obey_config, settings_of
from d2seg.engine.solver import build_lr_scheduler, build_optimizer


def model() -> nn.Module:
    torch.manual_seed(0)
    parts = {
        "words": nn.Embedding(20, 24),
        "hidden": nn.Linear(24, 48),
        "norm": nn.LayerNorm(48),
        "conv": nn.Conv1d(48, 48, 3, padding=1),
        "pointwise": nn.Conv1d(48, 20, 1),
        "classes": nn.Linear(20, 3),
    }
    return nn.ModuleDict(parts)


def take_steps(
    net: nn.Module, number: int, *optimizers: torch.optim.Optimizer, noise: float = 0.0
) -> None:
    """``noise`` is added to gradients, so that they have all directions."""
    ids = torch.arange(20).view(4, 5)
    for _ in range(number):
        tokens = net["norm"](net["hidden"](net["words"](ids)))
        scores = net["classes"](net["pointwise"](net["conv"](tokens.mT)).mT)
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), ids.flatten() % 3)
        net.zero_grad()
        loss.backward()
        generator = torch.Generator().manual_seed(0)
        for p in net.parameters():
            p.grad += noise * torch.randn(p.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()


@pytest.fixture
def cfg(tmp_path) -> CfgNode:
    return toy_cfg(
        tmp_path,
        *("SOLVER.OPTIMIZER", "muon", "SOLVER.MUON_LR_FACTOR", 4.0, "SOLVER.MAX_ITER", 100),
        *("SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.WEIGHT_DECAY_EMBED", 0.1),
        *("SOLVER.WEIGHT_DECAY_NORM", 0.1, "SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR"),
    )


def assert_equal(ours: nn.Module, expected: nn.Module) -> None:
    for one, other in zip(ours.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has Muon from 2.9 on")
def test_matrices_are_muons_and_the_rest_adamws(cfg):
    """A step as torch's own, whose products are of two digits."""
    ours, expected = model(), model()
    take_steps(ours, 1, build_optimizer(cfg, ours), noise=1.0)
    matrix, pointwise = expected["hidden"].weight, expected["pointwise"].weight
    others = [p for p in expected.parameters() if p is not matrix and p is not pointwise]
    muon = torch.optim.Muon([matrix], 0.04, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    take_steps(expected, 1, muon, torch.optim.AdamW(others, 0.01, weight_decay=0.1), noise=1.0)
    moved = (matrix - model()["hidden"].weight).norm()
    assert (ours["hidden"].weight - matrix).norm() < 0.02 * moved
    ours["hidden"].weight = matrix
    step = orthogonal(pointwise.grad.flatten(1)[None])[0, :, :, None]
    with torch.no_grad():
        pointwise.mul_(1 - 0.04 * 0.1).sub_(0.04 * 0.2 * 48**0.5 * step)
    assert_equal(ours, expected)


@pytest.mark.parametrize("shape", [(2, 16, 24), (1, 40, 17), (3, 20, 30)])
def test_directions_stay_and_their_sizes_become_one(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape, dtype=torch.float64)
    left, sizes, right = torch.linalg.svd(matrices, full_matrices=False)
    sizes = sizes / sizes.norm(dim=1, keepdim=True)
    for _ in range(5):
        sizes = 3.4445 * sizes - 4.7750 * sizes**3 + 2.0315 * sizes**5
    assert ((sizes > 0.6) & (sizes < 1.3)).all()
    ours = orthogonal(matrices.float()).double()
    torch.testing.assert_close(ours, left * sizes[:, None] @ right, atol=1e-4, rtol=0)


def test_a_step_is_as_large_as_adamws(cfg):
    cfg.merge_from_list(["SOLVER.WEIGHT_DECAY", 0.0, "SOLVER.MUON_LR_FACTOR", 1.0])
    net = model()
    before = net["hidden"].weight.detach().clone()
    take_steps(net, 1, build_optimizer(cfg, net))
    step = before - net["hidden"].weight
    assert 0.1 * 0.01 < step.pow(2).mean().sqrt() < 0.3 * 0.01  # 0.2 of the rate, section 2.2


def test_a_state_that_is_loaded_goes_on(cfg):
    whole, halves = model(), model()
    take_steps(whole, 6, build_optimizer(cfg, whole))
    first = build_optimizer(cfg, halves)
    take_steps(halves, 3, first)
    state = copy.deepcopy(first.state_dict())
    second = build_optimizer(cfg, halves)
    check_optimizer_state(second, state)
    second.load_state_dict(state)
    take_steps(halves, 3, second)
    assert_equal(halves, whole)


def test_rates_follow_schedule_and_config(cfg):
    net = model()
    optimizer = build_optimizer(cfg, net)
    scheduler = build_lr_scheduler(cfg, optimizer)
    ours = settings_of(optimizer)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    obey_config(optimizer, scheduler, ours)
    factors = {"muon_momentum" in g: g["initial_lr"] for g in optimizer.param_groups}
    assert factors == {True: pytest.approx(0.04), False: pytest.approx(0.01)}
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = copy.deepcopy(net)
    take_steps(net, 2, optimizer)
    assert_equal(net, before)


@pytest.mark.parametrize("change", ["text", "nan", "of another"])
def test_a_state_that_does_not_fit_is_refused(cfg, change):
    net = model()
    optimizer = build_optimizer(cfg, net)
    take_steps(net, 2, optimizer)
    state = copy.deepcopy(optimizer.state_dict())
    moments = state["state"][0]
    if change == "text":
        moments["momentum_buffer"] = "x"
    elif change == "nan":
        moments["momentum_buffer"] *= math.nan
    else:
        cfg.SOLVER.OPTIMIZER = "ADAMW"
        optimizer = build_optimizer(cfg, net)
    message = "of parameter 0 (is damaged|.* is not finite)|optimizer MUON, .* is ADAMW"
    with pytest.raises(ValueError, match=message):
        check_optimizer_state(optimizer, state)
