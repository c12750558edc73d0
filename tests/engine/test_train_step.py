"""d2seg.engine.train_step: equal sums over micro-batches and processes, and bad steps skipped."""

import logging
from pathlib import Path

import pytest
import torch
from detectron2.utils.events import EventStorage
from toy_training import (
    ToySegmentor,
    ToyTrainer,
    toy_cfg,
    toy_loader,
    train_all,
    train_in_process,
    weights_of,
)

from d2seg.engine.solver import GradientClip
from d2seg.engine.train_step import TrainingDivergedError, TrainStep
from families.processes import run_in_two_processes

TOLERANCE = 1e-6  # of weights of magnitude 1; the order of additions differs
CLIP = (
    *("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model"),
    *("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.1),
)


def make_step(tmp_path: Path, *opts, **kwargs) -> tuple[TrainStep, ToySegmentor]:
    cfg = toy_cfg(tmp_path, *opts)
    model = ToySegmentor(cfg)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return TrainStep(model, toy_loader(cfg), optimizer, **kwargs), model


def run(step: TrainStep, num_steps: int = 1) -> dict[str, float]:
    """Steps from iteration 0 on; the numbers logged by the last one."""
    with EventStorage() as storage:
        for step.iter in range(num_steps):
            storage.iter = step.iter
            step.run_step()
        return {name: value for name, (value, _) in storage.latest().items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Folder of the reference: one process, one backward pass per step."""
    folder = tmp_path_factory.mktemp("whole")
    train_in_process(toy_cfg(folder, *CLIP), {})
    return folder


def assert_same_run(folder: Path, whole: Path) -> None:
    reference = torch.load(whole / "weights.pt")
    start = ToySegmentor(toy_cfg(whole)).state_dict()
    assert all((reference[k] - start[k]).abs().max() > 0.005 for k in start)  # it has trained
    for key, value in torch.load(folder / "weights.pt").items():
        torch.testing.assert_close(value, reference[key], rtol=0, atol=TOLERANCE, msg=key)
    losses = torch.load(whole / "losses.pt")
    assert torch.load(folder / "losses.pt") == pytest.approx(losses, abs=TOLERANCE)
    assert list(losses) == list(range(8))


@pytest.mark.parametrize("steps", [2, 4])
def test_micro_batches_do_what_the_whole_batch_does(tmp_path, whole, steps):
    train_in_process(toy_cfg(tmp_path, *CLIP, "SOLVER.ACCUMULATE_STEPS", steps), {})
    assert_same_run(tmp_path, whole)


POISON = {"0.jpg": float("nan")}  # once per pass over the 12 images: in 2 of 6 steps


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory) -> dict[str | int, Path]:
    """Folders of runs on two processes: by the number of micro-batches, and one with poison."""
    folders = {name: tmp_path_factory.mktemp(f"two_{name}") for name in (1, 2, "poison")}
    runs = [
        (toy_cfg(folders[steps], *CLIP, "SOLVER.ACCUMULATE_STEPS", steps), {}) for steps in (1, 2)
    ]
    runs.append((toy_cfg(folders["poison"], "SOLVER.MAX_ITER", 6), POISON))
    run_in_two_processes(train_all, runs)
    return folders


@pytest.mark.parametrize("steps", [1, 2])
def test_two_processes_do_what_one_does(of_two_processes, whole, steps):
    assert_same_run(of_two_processes[steps], whole)


def test_loss_by_hand(tmp_path):
    step, model = make_step(tmp_path, accumulate_steps=2)
    batches = iter(toy_loader(toy_cfg(tmp_path)))
    with torch.no_grad():
        expected = [model(next(batches)) for _ in range(2)]
    logged = run(step)
    for name in ("loss_a", "loss_b"):
        mean = sum(float(losses[name]) for losses in expected) / 2
        assert logged[name] == pytest.approx(mean, abs=1e-6)
    assert logged["total_loss"] == pytest.approx(logged["loss_a"] + logged["loss_b"], abs=1e-6)
    assert logged["data_time"] > 0
    assert logged["grad_norm"] > 0


def test_gradient_is_clipped_after_its_norm_is_logged(tmp_path):
    step, model = make_step(tmp_path, clip=GradientClip("full_model", 0.01, 2.0))
    before = weights_of_model(model)
    assert run(step)["grad_norm"] > 0.02
    moved = torch.cat([(w - before[k]).flatten() for k, w in model.state_dict().items()])
    assert float(moved.norm()) == pytest.approx(0.1 * 0.01, rel=1e-3)  # learning rate x limit


def weights_of_model(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: w.clone() for k, w in model.state_dict().items()}


def test_bf16_on_cpu(tmp_path):
    dtypes = []
    step, model = make_step(tmp_path, amp_dtype=torch.bfloat16)
    model.backbone.register_forward_hook(lambda *args: dtypes.append(args[-1].dtype))
    loss = run(step, 30)["total_loss"]
    assert set(dtypes) == {torch.bfloat16}
    assert all(w.dtype == torch.float32 for w in model.parameters())
    first, _ = make_step(tmp_path)
    assert loss < 0.5 * run(first)["total_loss"]


@pytest.mark.gpu
def test_fp16_grows_and_shrinks_its_loss_scale(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model = torch.nn.Linear(2, 1).cuda()
    model.forward = lambda batch: model.weight.sum().half().float() * batch[0]["factor"]
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    # a gradient of 1, scaled by 2^16, would be no fp16 number
    batches = [[{"factor": factor, "file_name": "a"}] for factor in (0.5, float("inf"), 0.5)]
    step = TrainStep(model, batches, optimizer, amp_dtype=torch.float16)
    before = weights_of_model(model)
    run(step, 3)
    assert step.num_bad_steps == 1
    assert step.state_dict()["grad_scaler"]["scale"] == 2.0**15
    assert not torch.equal(model.weight, before["weight"])


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_bad_step_changes_nothing_and_names_its_images(tmp_path, caplog, factor):
    step, model = make_step(tmp_path, "MODEL.MASKFORMER.PRE_NORM", True, accumulate_steps=2)
    first = [
        [s["file_name"] for s in batch]
        for batch, _ in zip(step.data_loader, range(2), strict=False)
    ]
    model.poison = {first[1][0]: factor}
    before = weights_of_model(model)
    with caplog.at_level(logging.WARNING, "d2seg"):
        run(step)
    for key, weight in model.state_dict().items():  # the batch norm's statistics too
        assert torch.equal(weight, before[key]), key
    assert step.num_bad_steps == 1
    assert f"loss_a is {factor}" in caplog.text
    assert f"images: {', '.join(first[1])}\n" in caplog.text  # not those of the good micro-batch
    model.poison = {}
    run(step)
    assert not torch.equal(model.head.weight, before["head.weight"])


def test_gradient_that_is_not_finite(tmp_path, caplog):
    step, model = make_step(tmp_path)
    model.head.weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weights_of_model(model)
    run(step)
    assert torch.equal(model.backbone.weight, before["backbone.weight"])
    assert "the gradient is not finite; images: " in caplog.text
    assert caplog.text.count(".jpg") == 4


def test_many_bad_steps_in_a_row_end_the_run(tmp_path):
    step, model = make_step(tmp_path, max_bad_steps=3)
    everything = {f"{i}.jpg": float("nan") for i in range(12)}
    model.poison = everything
    run(step, 2)
    model.poison = {}
    run(step)  # a good one: the count starts again
    model.poison = everything
    with pytest.raises(TrainingDivergedError, match=r"3 steps in a row .*: \d+\.jpg(, \d+\.jpg)+"):
        run(step, 5)
    assert step.num_bad_steps == 5


def test_all_processes_skip_together(tmp_path, of_two_processes):
    """The poison reaches one of two processes; both leave the step out, and end alike."""
    train_in_process(toy_cfg(tmp_path, "SOLVER.MAX_ITER", 6), POISON)
    one, two = tmp_path, of_two_processes["poison"]
    weights = torch.load(one / "weights.pt")
    for key, value in torch.load(two / "weights.pt").items():  # of the second process
        torch.testing.assert_close(value, weights[key], rtol=0, atol=TOLERANCE, msg=key)
    for folder in (one, two):
        saved = torch.load(folder / "model_final.pth", weights_only=True)
        assert saved["trainer"]["_trainer"]["num_bad_steps"] == 2
        assert len(torch.load(folder / "losses.pt")) == 4


def test_state_survives_the_safe_reader(tmp_path):
    cfg = toy_cfg(tmp_path)
    trainer = ToyTrainer(cfg)
    trainer.train()
    state = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert state["trainer"]["iteration"] == cfg.SOLVER.MAX_ITER - 1
    assert state["trainer"]["_trainer"]["seed"] == cfg.SEED
    for key, value in weights_of(trainer).items():
        assert torch.equal(state["model"][key], value)
