"""A run goes on from a checkpoint that fits it, or says by name why not; its record has no gaps."""

import json
import logging
import math
import signal
from pathlib import Path

import pytest
import torch
from test_trainer import ALL_RANDOM, At, assert_equal_weights, run, send
from toy_training import ToyTrainer, toy_cfg, weights_of

from d2seg.engine.record import trim_metrics
from d2seg.engine.train_step import TrainingDivergedError

LONG = ("SOLVER.MAX_ITER", 24, "SOLVER.CHECKPOINT_PERIOD", 7)


def rows(folder: Path, name: str = "metrics.json") -> dict[int, dict[str, float]]:
    lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
    iterations = [line["iteration"] for line in lines]
    assert len(set(iterations)) == len(iterations)
    times = ("time", "data_time", "rank_data_time", "eta_seconds")
    return {line["iteration"]: {k: v for k, v in line.items() if k not in times} for line in lines}


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing is saved."""


def kill() -> None:
    raise Killed


@pytest.mark.parametrize(
    "name", ["", "gone.pth", "../model_0000003.pth", b"\xff\xfe\x00\x80", "m" * 300]
)
def test_the_tag_may_be_lost(tmp_path, name):
    """Before, the run began at 0 and wrote over the checkpoints."""
    run(tmp_path, at=At(3, send(signal.SIGTERM)))
    tag = tmp_path / "last_checkpoint"
    tag.unlink()
    if name:
        tag.write_bytes(name if isinstance(name, bytes) else name.encode())
    (tmp_path / "model_0000009.pth").symlink_to("nowhere")
    assert list(run(tmp_path, resume=True).losses) == [5, 6, 7]


def test_weights_alone_are_refused_by_name(tmp_path):
    first = run(tmp_path, at=At(3, send(signal.SIGTERM)))
    for path in tmp_path.glob("model_*.pth"):
        torch.save({"model": first.model.state_dict(), "iteration": 4}, path)
    with pytest.raises(ValueError, match="none of the 1 checkpoints"):
        run(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("SOLVER.OPTIMIZER", "SGD"), "optimizer ADAMW, the config's SOLVER.OPTIMIZER is SGD"),
        (("SOLVER.WEIGHT_DECAY_BIAS", 0.5), "the optimizer's groups have"),
    ],
)
def test_another_optimizer_is_refused_by_name(tmp_path, opts, message):
    run(tmp_path, at=At(3, send(signal.SIGTERM)))
    with pytest.raises(ValueError, match=message):
        run(tmp_path, *opts, resume=True)


@pytest.mark.parametrize("kind", ["shape", "nan"])
def test_moments_that_do_not_fit_are_refused_by_name(tmp_path, kind):
    run(tmp_path, at=At(3, send(signal.SIGTERM)))
    [path] = tmp_path.glob("model_*.pth")
    checkpoint = torch.load(path, weights_only=True)
    moments = checkpoint["trainer"]["_trainer"]["optimizer"]["state"][0]
    moments["exp_avg"] = torch.ones(3) if kind == "shape" else moments["exp_avg"] * math.nan
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=r"'exp_avg' of parameter 0 .*(the shape|not finite)"):
        run(tmp_path, resume=True)


STATES = {
    "no state": lambda t: t.clear(),
    "iteration of text": lambda t: t.update(iteration="4"),
    "iteration below zero": lambda t: t.update(iteration=-5),
    "iteration of the future": lambda t: t.update(iteration=10**9),
    "hooks of text": lambda t: t.update(hooks="x"),
    "no schedule": lambda t: t["hooks"].pop("LRScheduler"),
    "schedule elsewhere": lambda t: t["hooks"]["LRScheduler"].update(last_epoch=900),
    "average of text": lambda t: t["hooks"]["ExponentialMovingAverage"].update(average="x"),
    "updates of text": lambda t: t["hooks"]["ExponentialMovingAverage"].update(num_updates="x"),
    "no step": lambda t: t.pop("_trainer"),
    "optimizer of text": lambda t: t["_trainer"].update(optimizer="x"),
    "moments missing": lambda t: t["_trainer"]["optimizer"]["state"][0].pop("exp_avg"),
    "moments of text": lambda t: t["_trainer"]["optimizer"]["state"][0].update(exp_avg="x"),
    "other numbers": lambda t: (
        t["_trainer"]["optimizer"]["param_groups"][0]["params"].reverse()
        or t["_trainer"]["optimizer"]["param_groups"][0]["params"].__setitem__(0, 77)
    ),
    "groups of numbers": lambda t: t["_trainer"]["optimizer"].update(param_groups=[7]),
    "circumstances of text": lambda t: t.update(circumstances="x"),
    "history of lists": lambda t: t.update(history=[1]),
    **{
        f"moments {what}": lambda t, change=change: change(t["_trainer"]["optimizer"]["state"][0])
        for what, change in {
            "of half precision": lambda s: s.update(exp_avg=s["exp_avg"].half()),
            "of integers": lambda s: s.update(exp_avg_sq=s["exp_avg_sq"].long()),
            "of complex numbers": lambda s: s.update(exp_avg=s["exp_avg"] + 0j),
            "below zero": lambda s: s["exp_avg_sq"].fill_(-1),
            "counted backwards": lambda s: s["step"].fill_(-3),
        }.items()
    },
    **{
        f"seed {seed}": lambda t, seed=seed: t["_trainer"].update(seed=seed)
        for seed in ("x", None, -5, 2**70, True)
    },
    "bad steps of text": lambda t: t["_trainer"].update(num_bad_steps="x"),
    "average not finite": lambda t: t["hooks"]["ExponentialMovingAverage"]["average"][
        "head.bias"
    ].fill_(math.nan),
    "circumstances of tensors": lambda t: t["circumstances"].update(SEED=torch.ones(3)),
    "history by number": lambda t: t["history"].update({7: t["history"]["total_loss"]}),
    "history of lines": lambda t: t["history"].update({"loss\n": t["history"]["total_loss"]}),
    "history of text": lambda t: t["history"]["total_loss"].update(values="x"),
}


@pytest.mark.parametrize("what", STATES)
def test_a_damaged_state_is_refused_in_a_line(tmp_path, what):
    """Of a file that is whole. Before: tracebacks, a schedule from its start, or no iteration."""
    opts = ("SOLVER.EMA.ENABLED", True)
    run(tmp_path, *opts, at=At(3, send(signal.SIGTERM)))
    [path] = tmp_path.glob("model_*.pth")
    checkpoint = torch.load(path, weights_only=True)
    STATES[what](checkpoint["trainer"])
    torch.save(checkpoint, path)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        run(tmp_path, *opts, resume=True)
    assert "\n" not in str(caught.value)
    assert "checkpoint" in str(caught.value) or "optimizer" in str(caught.value)


@pytest.mark.parametrize("change", [torch.Tensor.half, torch.Tensor.long, lambda w: w * math.nan])
def test_a_checkpoint_of_other_numbers_is_not_resumed_from(tmp_path, change, caplog):
    """The one before it is. Before: a run that is another one, or skips its steps."""
    opts = ("SOLVER.CHECKPOINT_PERIOD", 2)
    whole = run(tmp_path / "whole")
    run(tmp_path, *opts, at=At(3, send(signal.SIGTERM)))
    path = tmp_path / "model_0000004.pth"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["model"]["head.bias"] = change(checkpoint["model"]["head.bias"])
    torch.save(checkpoint, path)
    resumed = run(tmp_path, *opts, resume=True)
    assert "model_0000004.pth: the weight head.bias is " in caplog.text
    assert list(resumed.losses) == [4, 5, 6, 7]
    assert_equal_weights(weights_of(resumed), weights_of(whole))


def test_the_rates_are_the_configs_whatever_the_state_says(tmp_path):
    first = run(tmp_path / "whole")
    run(tmp_path / "cut", at=At(3, send(signal.SIGTERM)))
    [path] = (tmp_path / "cut").glob("model_*.pth")
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["trainer"]["hooks"]["LRScheduler"]["base_lrs"] = [7.0, 7.0]
    for group in checkpoint["trainer"]["_trainer"]["optimizer"]["param_groups"]:
        group["lr"] = 7.0
    torch.save(checkpoint, path)
    assert run(tmp_path / "cut", resume=True).losses[7] == first.losses[7]


def test_another_config_is_said(tmp_path, caplog):
    run(tmp_path, at=At(3, send(signal.SIGTERM)))
    opts = ("MODEL.MASKFORMER.DROPOUT", 0.5, "INPUT.MIN_SIZE_TRAIN", (64,), "MODEL.WEIGHTS", "")
    with caplog.at_level(logging.WARNING, "d2seg"):
        run(tmp_path, *opts, resume=True)
    assert "since the checkpoint: INPUT.MIN_SIZE_TRAIN was [800] and is [64]; " in caplog.text
    assert "MODEL.MASKFORMER.DROPOUT was 0.0 and is 0.5" in caplog.text
    caplog.clear()
    run(tmp_path, *opts, "SOLVER.MAX_ITER", 9, resume=True)
    assert "The config has changed" not in caplog.text


def test_other_circumstances_are_said(tmp_path, caplog):
    run(tmp_path, at=At(3, send(signal.SIGTERM)))
    opts = ("SEED", 9, "SOLVER.IMS_PER_BATCH", 2, "DATASETS.TRAIN", ("toy", "toy"))
    with caplog.at_level(logging.WARNING, "d2seg"):
        run(tmp_path, *opts, resume=True)
    for text in ("SEED was 3 and is 9", "IMS_PER_BATCH was 4 and is 2", "DATASETS.TRAIN was"):
        assert text in caplog.text
    caplog.clear()
    run(tmp_path, *opts, "SOLVER.MAX_ITER", 9, resume=True)
    assert "DATASETS.TRAIN was" not in caplog.text


def test_a_lower_rate_counts(tmp_path, caplog):
    """As the message at a divergence advises; the rate of the checkpoint used to go on."""
    run(tmp_path, at=At(3, send(signal.SIGTERM)))
    opts = ("SOLVER.BASE_LR", 0.001, "SOLVER.WEIGHT_DECAY", 0.5, "SOLVER.STEPS", (7,))
    with caplog.at_level(logging.WARNING, "d2seg"):
        trainer = run(tmp_path, *opts, resume=True)
    assert "weight_decay was 0.0001 and is 0.5; initial_lr was 0.01 and is 0.001" in caplog.text
    [rate] = {group["lr"] for group in trainer.optimizer.param_groups}
    assert rate == pytest.approx(1e-4)  # after the step of iteration 7
    values = trainer.storage.history("lr").values()
    assert [at for _, at in values] == list(range(8))
    assert [value for value, at in values if at >= 5] == pytest.approx([0.001, 0.001, 0.0001])
    assert {group["weight_decay"] for group in trainer.optimizer.param_groups} == {0.5}


def test_metrics_are_those_of_the_uninterrupted_run(tmp_path):
    run(tmp_path / "whole", *ALL_RANDOM, *LONG)
    with pytest.raises(Killed):  # after the row of iteration 19, with a checkpoint of 13
        run(tmp_path / "killed", *ALL_RANDOM, *LONG, at=At(19, kill))
    assert not (tmp_path / "killed" / "model_0000020.pth").exists()
    (tmp_path / "killed" / "metrics.json").open("a").write('{"iteration": 2')
    run(tmp_path / "killed", *ALL_RANDOM, *LONG, resume=True)
    whole, killed = rows(tmp_path / "whole"), rows(tmp_path / "killed")
    assert 19 in whole
    assert {i: killed[i] for i in whole} == whole


@pytest.mark.parametrize("last", [24, 20])
def test_a_line_of_a_run_that_was_killed_between_its_save_and_its_record(tmp_path, last):
    """detectron2's hook writes it after the others; the step is not trained again."""
    opts = ("SOLVER.CHECKPOINT_PERIOD", last, "SOLVER.MAX_ITER", 24)
    run(tmp_path / "whole", *opts)
    with pytest.raises(Killed):
        run(tmp_path / "killed", *opts, at=At(last - 1, kill))
    file = tmp_path / "killed" / "metrics.json"
    whole = file.read_text().splitlines()
    file.write_text(
        "".join(f"{line}\n" for line in whole if f'"iteration": {last - 1}' not in line)
    )
    assert file.read_text().splitlines() == whole[:-1]
    run(tmp_path / "killed", *opts, resume=True)
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


def test_lines_of_metrics_that_stay(tmp_path):
    file = tmp_path / "metrics.json"
    endless = ["[" * 100_000, '{"iteration": ' + "9" * 9999 + "}", '{"iteration": [1]}']
    lines = [
        *endless,
        '{"iteration": 3, "a": 1}',
        '{"iteration": 5}',
        '{"iteration": 3, "a": 2}',
        '{"iter',
    ]
    file.write_text("\n".join(lines))
    trim_metrics(file, 5)
    assert file.read_text() == '{"iteration": 3, "a": 2}\n'
    trim_metrics(tmp_path / "none.json", 5)
    assert not (tmp_path / "none.json").exists()
    for name in ("metrics.json", "none.json"):
        trim_metrics(tmp_path / name, 5, {"a": 4})
        trim_metrics(tmp_path / name, 5, {"a": 5})
        assert rows(tmp_path, name)[4] == {"iteration": 4, "a": 4}


@pytest.mark.parametrize("what", ["weight", "statistic", "moment"])
def test_a_model_that_diverged_is_not_saved(tmp_path, what):
    trainer = ToyTrainer(
        toy_cfg(tmp_path, "SOLVER.CHECKPOINT_PERIOD", 2, "MODEL.MASKFORMER.PRE_NORM", True)
    )
    trainer.resume_or_load(resume=False)

    def spoil() -> None:
        model = trainer.model
        if what == "weight":
            model.head.bias.data[0] = math.inf
        elif what == "statistic":
            model.norm.running_var[0] = math.nan
        else:
            trainer.optimizer.state[model.head.bias]["exp_avg_sq"][0] = math.nan

    trainer.register_hooks([At(2, spoil)])
    trainer._hooks.insert(0, trainer._hooks.pop())
    with pytest.raises(TrainingDivergedError, match=r"no checkpoint is written .* stays"):
        trainer.train()
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model_0000001.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"
