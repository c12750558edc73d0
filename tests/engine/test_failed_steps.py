"""What a step that fails leaves behind: nothing, so that the resumed run is the uninterrupted one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.utils.events import get_event_storage
from test_trainer import ALL_RANDOM, At, assert_equal_weights, run
from torch import nn
from toy_training import ToyTrainer, toy_cfg, weights_of

OPTS = (*ALL_RANDOM, "SOLVER.MAX_ITER", 8, "SOLVER.CHECKPOINT_PERIOD", 3)


class DeviceError(RuntimeError):
    pass


def fail_in_forward(trainer: ToyTrainer) -> None:
    """In the second micro-batch, behind the norm, whose statistics have moved twice."""
    calls = []

    def hook(*args: object) -> None:
        calls.append(1)
        get_event_storage().put_scalar("recorded", 1.0)
        if len(calls) == 2:
            raise DeviceError

    trainer.model.head.register_forward_hook(hook)


def fail_in_backward(trainer: ToyTrainer) -> None:
    def hook(gradient: torch.Tensor) -> None:
        raise DeviceError

    trainer.model.backbone.weight.register_hook(hook)


def fail_in_clipping(trainer: ToyTrainer) -> None:
    def clip(*args: object) -> None:
        raise DeviceError

    trainer._trainer._clip = clip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> ToyTrainer:
    return run(tmp_path_factory.mktemp("uninterrupted"), *OPTS)


@pytest.mark.parametrize("spoil", [fail_in_forward, fail_in_backward, fail_in_clipping])
def test_the_resumed_run_is_the_uninterrupted_one(
    tmp_path: Path, uninterrupted: ToyTrainer, spoil: Callable[[ToyTrainer], None]
) -> None:
    trainer = ToyTrainer(toy_cfg(tmp_path, *OPTS))
    trainer.resume_or_load(resume=False)
    before: dict[str, torch.Tensor] = {}

    def act() -> None:
        spoil(trainer)
        before.update(weights_of(trainer))

    trainer.register_hooks([At(3, act)])
    with pytest.raises(DeviceError):
        trainer.train()
    saved = torch.load(tmp_path / "model_0000003.pth", weights_only=True)
    assert_equal_weights(saved["model"], before)  # the statistics of the norm, too
    assert all(at <= 3 for s in saved["trainer"]["history"].values() for _, at in s["values"])
    resumed = run(tmp_path, *OPTS, resume=True)
    assert {**trainer.losses, **resumed.losses} == uninterrupted.losses
    assert_equal_weights(weights_of(resumed), weights_of(uninterrupted))


def test_weights_that_are_half_changed_are_not_saved(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = ToyTrainer(toy_cfg(tmp_path, *OPTS))
    trainer.resume_or_load(resume=False)

    def act() -> None:
        def step(*args: object) -> None:
            nn.init.zeros_(trainer.model.head.weight)
            raise DeviceError

        trainer.optimizer.step = step

    trainer.register_hooks([At(4, act)])
    with pytest.raises(DeviceError):
        trainer.train()
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model_0000002.pth"]
    assert "the step failed while it changed the weights" in caplog.text
    assert list(run(tmp_path, *OPTS, resume=True).losses) == [3, 4, 5, 6, 7]
