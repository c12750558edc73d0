"""d2seg.engine.trainer and its hooks: exact resumption, ends of all kinds, average, best weights."""

import json
import logging
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase, hooks
from toy_training import NUM_IMAGES, ToyTrainer, toy_cfg, weights_of

ALL_RANDOM = (
    *("MODEL.MASKFORMER.DROPOUT", 0.5, "MODEL.MASKFORMER.PRE_NORM", True),
    *("SOLVER.EMA.ENABLED", True, "SOLVER.ACCUMULATE_STEPS", 2),
)


class At(HookBase):
    """Does something at the end of an iteration."""

    def __init__(self, iteration: int, action: Callable[[], None]) -> None:
        self.iteration, self.action = iteration, action

    def after_step(self) -> None:
        if self.trainer.iter == self.iteration:
            self.action()


def run(folder: Path, *opts, resume: bool = False, at: At | None = None) -> ToyTrainer:
    trainer = ToyTrainer(toy_cfg(folder, *opts))
    trainer.resume_or_load(resume=resume)
    trainer.register_hooks([at])
    trainer.train()
    return trainer


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def assert_equal_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> ToyTrainer:
    return run(tmp_path_factory.mktemp("uninterrupted"), *ALL_RANDOM)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_and_resumed_equals_uninterrupted(
    tmp_path, uninterrupted, workers, number, caplog
):
    """Bit by bit: losses, weights, statistics of batch norm, average; dropout and noise are on."""
    opts = (*ALL_RANDOM, "DATALOADER.NUM_WORKERS", workers)
    handler = signal.getsignal(number)
    with caplog.at_level(logging.INFO, "d2seg"):
        first = run(tmp_path, *opts, at=At(2, send(number)))
    assert first.exit_code == 128 + number
    assert list(first.losses) == [0, 1, 2, 3]  # the step after the signal is finished
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000003.pth"
    assert not (tmp_path / "model_final.pth").exists()
    assert "--resume" in caplog.text
    assert signal.getsignal(number) is handler

    torch.rand(7)  # the generators are anywhere when a run is resumed
    second = run(tmp_path, *opts, "SEED", 99, resume=True)  # the checkpoint's seed counts
    assert second.exit_code == 0
    assert {**first.losses, **second.losses} == uninterrupted.losses
    assert list(second.losses) == [4, 5, 6, 7]
    assert_equal_weights(weights_of(second), weights_of(uninterrupted))
    paths = [Path(t.cfg.OUTPUT_DIR) / "model_final_ema.pth" for t in (second, uninterrupted)]
    averages = [torch.load(path, weights_only=True)["model"] for path in paths]
    assert_equal_weights(*averages)
    assert not torch.equal(averages[0]["head.weight"], weights_of(second)["head.weight"])


def test_seeds_make_runs(tmp_path, uninterrupted):
    """Another seed is another run; and the equality above is not one of constants."""
    other = run(tmp_path, *ALL_RANDOM, "SEED", 4)
    assert other.losses.keys() == uninterrupted.losses.keys()
    assert all(other.losses[i] != uninterrupted.losses[i] for i in other.losses)


def test_a_signal_in_the_last_save_leaves_out_the_evaluation(tmp_path, uninterrupted):
    """It comes after the last step in which it could have been told of."""
    opts = (*ALL_RANDOM, "DATASETS.TEST", ("toy",))
    first = run(tmp_path, *opts, at=At(7, send(signal.SIGTERM)))
    assert first.exit_code == 143
    assert not hasattr(first, "_last_eval_results")
    second = run(tmp_path, *opts, resume=True)
    assert second.exit_code == 0
    assert second.losses == {}
    assert "score" in second._last_eval_results["toy"]
    for name in ("model_final.pth", "model_final_ema.pth"):
        paths = (Path(t.cfg.OUTPUT_DIR) / name for t in (second, uninterrupted))
        assert_equal_weights(*(torch.load(path, weights_only=True)["model"] for path in paths))


def test_a_signal_in_a_last_step_before_steps_are_timed(tmp_path):
    """detectron2's printer divides by the iterations between two lines, 0 here."""
    opts = ("SOLVER.MAX_ITER", 2)
    assert run(tmp_path, *opts, at=At(0, send(signal.SIGTERM))).exit_code == 143


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_nothing_is_evaluated_after_a_failure_in_the_last_save(tmp_path, error, monkeypatch):
    def fail() -> None:
        raise error

    monkeypatch.setattr(ToyTrainer, "test", lambda *args: pytest.fail("evaluated"))
    with pytest.raises(error):
        run(tmp_path, "DATASETS.TEST", ("toy",), at=At(7, fail))


def test_second_ctrl_c_interrupts_at_once(tmp_path):
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, at=At(2, twice))
    assert signal.getsignal(signal.SIGINT) is before


def test_resuming_what_is_finished_or_absent(tmp_path, caplog):
    first = run(tmp_path, resume=True)
    assert "There is no checkpoint" in caplog.text
    recorded = (tmp_path / "metrics.json").read_text()
    again = run(tmp_path, resume=True)
    assert again.losses == {}
    assert (tmp_path / "metrics.json").read_text() == recorded
    longer = run(tmp_path, "SOLVER.MAX_ITER", 10, resume=True)
    assert list(longer.losses) == [8, 9]
    assert_equal_weights(weights_of(again), weights_of(first))


@pytest.mark.parametrize("final", [None, b"damaged"])
def test_a_run_that_was_killed_before_its_last_save_gets_it(tmp_path, final: bytes | None):
    """No iteration is left in which it would be written."""
    opts = ("SOLVER.CHECKPOINT_PERIOD", 2)
    first = run(tmp_path, *opts)
    (tmp_path / "model_final.pth").unlink()
    if final is not None:
        (tmp_path / "model_final.pth").write_bytes(final)
    (tmp_path / "last_checkpoint").write_text("model_0000007.pth")
    assert run(tmp_path, *opts, resume=True).losses == {}
    saved = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert_equal_weights(saved["model"], weights_of(first))
    assert saved["iteration"] == 7
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert run(tmp_path, *opts, resume=True).losses == {}


class DiskError(RuntimeError):
    pass


def test_what_was_trained_survives_an_exception(tmp_path, caplog):
    trainer = ToyTrainer(toy_cfg(tmp_path))
    trainer.resume_or_load(resume=False)
    weights = {}

    def fail() -> None:
        trainer.model.register_forward_pre_hook(lambda *args: 1 / 0)
        weights.update(weights_of(trainer))

    trainer.register_hooks([At(4, fail)])
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    saved = torch.load(tmp_path / "model_0000004.pth", weights_only=True)
    assert saved["iteration"] == saved["trainer"]["iteration"] == 4
    assert_equal_weights(saved["model"], weights)
    resumed = run(tmp_path, resume=True)
    assert list(resumed.losses) == [5, 6, 7]


@pytest.mark.parametrize("kind", ["nothing trained", "weights not finite"])
def test_nothing_useless_is_saved_after_an_exception(tmp_path, kind):
    trainer = ToyTrainer(toy_cfg(tmp_path))
    trainer.resume_or_load(resume=False)

    def fail() -> None:
        if kind == "weights not finite":
            trainer.model.head.weight.data[0, 0] = math.nan
        raise DiskError

    if kind == "nothing trained":
        trainer.model.register_forward_pre_hook(lambda *args: fail())
    trainer.register_hooks([At(4, fail)])
    with pytest.raises(DiskError):
        trainer.train()
    assert not list(tmp_path.glob("*.pth"))


class Scores:
    """Stands in for an evaluation: gives the listed scores, one each time."""

    def __init__(self, trainer: ToyTrainer, scores: list[float]) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []
        self._scores = iter(scores)
        self._trainer = trainer
        trainer.test = self

    def __call__(self, cfg, model) -> dict[str, dict[str, float]]:
        self.weights.append(weights_of(self._trainer))
        return {"toy": {"score": next(self._scores)}}


BEST = (
    *("DATASETS.TEST", ("toy",), "TEST.EVAL_PERIOD", 2, "TEST.BEST_METRIC", "toy/score"),
    *("SOLVER.MAX_ITER", 12, "SOLVER.CHECKPOINT_PERIOD", 2),
)


def test_best_weights_are_kept_and_the_last_checkpoint_stays_the_last(tmp_path):
    trainer = ToyTrainer(toy_cfg(tmp_path, *BEST, "SOLVER.MAX_ITER", 8))
    scores = Scores(trainer, [1.0, 3.0, math.nan, 2.0])
    trainer.resume_or_load(resume=False)
    trainer.train()
    best = torch.load(tmp_path / "model_best.pth", weights_only=True)
    assert_equal_weights(best["model"], scores.weights[1])
    assert best["iteration"] == 3
    assert "trainer" not in best
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_early_stopping_counts_across_a_resume(tmp_path, caplog):
    opts = (*BEST, "TEST.EARLY_STOPPING_PATIENCE", 3)
    first = ToyTrainer(toy_cfg(tmp_path, *opts))
    Scores(first, [1.0, 3.0, 2.0])  # after iterations 1, 3, 5
    first.resume_or_load(resume=False)
    first.register_hooks([At(5, send(signal.SIGTERM))])
    first.train()
    assert list(first.losses) == list(range(7))
    second = ToyTrainer(toy_cfg(tmp_path, *opts))
    Scores(second, [2.5, 1.0])  # after iterations 7, 9
    second.resume_or_load(resume=True)
    with caplog.at_level(logging.INFO, "d2seg"):
        second.train()
    assert list(second.losses) == [7, 8, 9]
    assert second.exit_code == 0
    assert "after iteration 9: 3 evaluations without a better" in caplog.text
    assert torch.load(tmp_path / "model_best.pth", weights_only=True)["iteration"] == 3
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["iteration"] == 9
    assert run(tmp_path, *opts, resume=True).losses == {}  # an evaluation's steps more, each time
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["iteration"] == 9
    patient = run(tmp_path, *BEST, "TEST.EARLY_STOPPING_PATIENCE", 4, resume=True)
    assert list(patient.losses)[:2] == [10, 11]


def test_best_metric_that_is_not_there(tmp_path, caplog):
    run(tmp_path, *BEST, "SOLVER.MAX_ITER", 4, "TEST.BEST_METRIC", "toy/points")
    assert "TEST.BEST_METRIC is 'toy/points'" in caplog.text
    assert "It gives: toy/score" in caplog.text
    assert not (tmp_path / "model_best.pth").exists()


def test_average_by_hand_and_its_evaluation(tmp_path):
    opts = (*BEST, "SOLVER.EMA.ENABLED", True, "SOLVER.EMA.DECAY", 0.3)
    opts += ("SOLVER.MAX_ITER", 4, "TEST.BEST_METRIC", "ema/toy/score")
    trainer = ToyTrainer(toy_cfg(tmp_path, *opts))
    trainer.resume_or_load(resume=False)
    averages = [weights_of(trainer)]  # at the start, and after each iteration
    decays = iter([2 / 11, 3 / 12, 0.3, 0.3])

    def follow() -> None:
        decay, last = next(decays), averages[-1]
        weights = weights_of(trainer)
        averages.append({k: decay * last[k] + (1 - decay) * w for k, w in weights.items()})

    trainer.register_hooks([hooks.CallbackHook(after_step=lambda _: follow())])
    results = trainer.train()
    saved = torch.load(tmp_path / "model_final_ema.pth", weights_only=True)["model"]
    best = torch.load(tmp_path / "model_best.pth", weights_only=True)
    for key in saved:
        torch.testing.assert_close(saved[key], averages[4][key])
        best_iteration = {1: 2, 4: 4}[best["iteration"]]  # evaluated in 1 and at the end
        torch.testing.assert_close(best["model"][key], averages[best_iteration][key])

    # the last evaluation was of these weights, and the raw ones are back
    assert results["toy"]["score"] != results["ema"]["toy"]["score"]
    weights = str(tmp_path / "model_final_ema.pth")
    reloaded = ToyTrainer(toy_cfg(tmp_path, *BEST, "MODEL.WEIGHTS", weights))
    reloaded.resume_or_load(resume=False)
    assert reloaded.test(reloaded.cfg, reloaded.model)["toy"] == results["ema"]["toy"]
    assert_equal_weights(weights_of(trainer), torch.load(tmp_path / "model_final.pth")["model"])


def test_average_of_another_model_is_refused(tmp_path):
    average = run(tmp_path, "SOLVER.EMA.ENABLED", True)._average
    state = average.state_dict()
    state["average"] = {**state["average"], "head.bias": torch.zeros(7)}
    with pytest.raises(ValueError, match="averaged weights"):
        average.load_state_dict(state)


def test_numbers_are_written_for_people_and_programs(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    run(tmp_path, *BEST, "SOLVER.MAX_ITER", 20, "TEST.EVAL_PERIOD", 10)
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    last = next(line for line in lines if line["iteration"] == 19)
    for key in ("total_loss", "loss_a", "loss_b", "lr", "time", "data_time", "grad_norm"):
        assert last[key] >= 0, key
    assert any("toy/score" in line for line in lines)
    assert list(tmp_path.glob("events.out.tfevents.*"))
    progress = [r.getMessage() for r in caplog.records if r.name == "detectron2.utils.events"]
    assert any("eta: " in line and "total_loss: " in line for line in progress)


def test_evaluation_sees_every_image(tmp_path):
    trainer = ToyTrainer(toy_cfg(tmp_path, "DATASETS.TEST", ("toy",)))
    assert sum(len(batch) for batch in trainer.build_test_loader(trainer.cfg, "toy")) == NUM_IMAGES
    assert trainer.test(trainer.cfg, trainer.model)["toy"]["score"] != 0


def test_every_checkpoint_says_what_it_is_of(tmp_path):
    opts = ("TEST.BEST_METRIC", "toy/score", "TEST.EVAL_PERIOD", 4, "DATASETS.TEST", ("toy",))
    run(tmp_path, *opts)
    for name in ("model_final", "model_best"):
        entry = torch.load(tmp_path / f"{name}.pth", weights_only=True)["d2seg"]
        assert "META_ARCHITECTURE: ToySegmentor" in entry["config"]
        assert entry["classes"] == {}


def test_a_fine_tuning_compares_class_names(tmp_path, caplog):
    run(tmp_path / "a")
    path = tmp_path / "a/model_final.pth"
    content = torch.load(path)
    content["d2seg"]["classes"] = {"stuff_classes": ["cat", "dog"]}
    torch.save(content, path)
    MetadataCatalog.get("toy").set(stuff_classes=["dog", "cat"])
    try:
        run(tmp_path / "b", "MODEL.WEIGHTS", str(path))
    finally:
        MetadataCatalog.remove("toy")
    assert "trained with class 0 'cat', where data set 'toy' has 'dog'" in caplog.text
