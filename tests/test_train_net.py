"""train_net.py as a user runs it: train, interrupt, resume, evaluate, several processes, mistakes."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.run
from PIL import Image

from families import forked_torchrun
from families.programs import Program

NUM_IMAGES = 8
CONFIG = """
MODEL:
  META_ARCHITECTURE: SemanticSegmentor
  DEVICE: cpu
  BACKBONE: {{NAME: build_resnet_fpn_backbone}}
  RESNETS: {{DEPTH: 50, RES2_OUT_CHANNELS: 32, STEM_OUT_CHANNELS: 16, WIDTH_PER_GROUP: 16, NORM: LN,
             OUT_FEATURES: [res2, res3, res4, res5]}}
  FPN: {{IN_FEATURES: [res2, res3, res4, res5], OUT_CHANNELS: 32}}
  SEM_SEG_HEAD: {{NUM_CLASSES: 3, CONVS_DIM: 32}}
INPUT: {{MAPPER: semantic, MIN_SIZE_TRAIN: [64], MIN_SIZE_TEST: 64}}
DATASETS:
  DECLARATIONS: ["{folder}/halves.yaml"]
  TRAIN: [halves_train]
  TEST: [halves_train]
DATALOADER: {{NUM_WORKERS: 1}}
SOLVER: {{OPTIMIZER: ADAMW, BASE_LR: 0.003, IMS_PER_BATCH: 4, MAX_ITER: 24, STEPS: [20],
          WARMUP_ITERS: 0, MAX_BAD_STEPS: 3}}
SEED: 1
"""
DECLARATION = """
name: halves
task: semantic
classes: [left, right, neither]
splits:
  train: {images: images, labels: labels}
"""
NO_WORKERS = ("DATALOADER.NUM_WORKERS", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A config and its data set: a bright left half, a dark right one, one row ignored."""
    folder = tmp_path_factory.mktemp("train_net")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for number in range(NUM_IMAGES):
        border = 16 + 4 * number
        labels = np.zeros((64, 64), np.uint8)
        labels[:, border:] = 1
        labels[0] = 255
        noise = np.random.default_rng(number).integers(0, 60, (64, 64, 3))
        image = noise + np.where(labels == 0, 190, 20)[..., None]
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"{number}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{number}.png")
    (folder / "halves.yaml").write_text(DECLARATION)
    (folder / "config.yaml").write_text(CONFIG.format(folder=folder))
    return folder


class Run:
    """A call of the script; its output goes to a file beside OUTPUT_DIR."""

    def __init__(
        self,
        repo: Path,
        folder: Path,
        name: str,
        *pairs: str,
        options: Sequence[str] = (),
        launcher: Sequence[str] = (),
        log: str = "",
        **environment: str,
    ) -> None:
        self.output = folder / name
        self._log = folder / f"{log or name}.log"
        arguments = ["--config-file", str(folder / "config.yaml"), *options]
        arguments += ["OUTPUT_DIR", str(self.output), *pairs]
        script = repo / "train_net.py"
        if launcher:
            script = Path(launcher[0])
            arguments = [*launcher[1:], str(repo / "train_net.py"), *arguments]
        environment |= {"OMP_NUM_THREADS": "1"}
        self._process = Program(script, arguments, folder, self._log, **environment)

    def code(self) -> int:
        code = self._process.wait(300)
        self.stderr = self._process.stderr
        return code

    def succeeded(self) -> "Run":
        assert self.code() == 0, self.stderr + self.log()[-3000:]
        return self

    def log(self) -> str:
        return self._log.read_text()

    def wait_for(self, text: str) -> None:
        for _ in range(6000):
            if text in self.log():
                return
            assert self._process.is_running, self.log()[-3000:]
            time.sleep(0.05)
        raise AssertionError(f"no {text!r} in {self.log()[-3000:]}")

    def children(self) -> list[int]:
        pid = self._process.pid
        return [int(i) for i in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def weights(self, name: str = "model_final.pth") -> dict[str, torch.Tensor]:
        return torch.load(self.output / name, weights_only=True)["model"]


@pytest.fixture(scope="module")
def whole(repo_dir, folder) -> Run:
    """One process, uninterrupted, whose results are as expected."""
    pairs = ("TEST.EXPECTED_RESULTS", "[['sem_seg','mIoU',0.0,200.0]]")
    return Run(repo_dir, folder, "whole", *pairs).succeeded()


def assert_equal(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == expected.keys()
    for key, weight in ours.items():
        assert torch.equal(weight, expected[key]), key


def errors(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("error: ")]


def test_training_learns_and_leaves_its_records(whole):
    names = {path.name for path in whole.output.iterdir()}
    assert {"config.yaml", "log.txt", "metrics.json", "model_final.pth", "last_checkpoint"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    log = whole.log()
    for text in ("Environment info", "Command line arguments", "eta: ", "Full config saved"):
        assert text in log
    assert log.count("Results verification passed") == 1
    assert (whole.output / "results.json").is_file()
    last = json.loads((whole.output / "metrics.json").read_text().splitlines()[-1])
    assert last["sem_seg/IoU-left"] > 50
    assert last["sem_seg/IoU-right"] > 50
    assert "Traceback" not in log + whole.stderr


def test_interrupted_and_resumed_is_the_same_run(repo_dir, folder, whole):
    first = Run(repo_dir, folder, "resumed", "SOLVER.CHECKPOINT_PERIOD", "10")
    first.wait_for("Saving checkpoint")
    first.send(signal.SIGTERM)
    assert first.code() == 128 + signal.SIGTERM
    assert "--resume" in first.log()
    assert "Traceback" not in first.log() + first.stderr
    assert not (first.output / "model_final.pth").exists()
    second = Run(repo_dir, folder, "resumed", *NO_WORKERS, options=["--resume"]).succeeded()
    start = int(re.search(r"Starting training from iteration (\d+)", second.log())[1])
    assert 10 <= start < 24
    assert_equal(second.weights(), whole.weights())


def test_evaluation_alone(repo_dir, folder, whole):
    """Its results are written even where they are not as expected."""
    pairs = ("MODEL.WEIGHTS", str(whole.output / "model_final.pth"))
    pairs += ("TEST.EXPECTED_RESULTS", "[['sem_seg','mIoU',-9.0,1.0]]")
    run = Run(repo_dir, folder, "evaluated", *pairs, options=["--eval-only"])
    assert run.code() == 1
    assert "Result verification failed" in run.log()
    results = json.loads((run.output / "results.json").read_text())
    last = json.loads((whole.output / "metrics.json").read_text().splitlines()[-1])
    assert results["sem_seg"]["mIoU"] == pytest.approx(last["sem_seg/mIoU"], abs=1e-4)
    assert f"{results['sem_seg']['mIoU']:.4f}" in run.log()


def test_unexpected_results_of_a_training_are_written_first(repo_dir, folder):
    pairs = ("SOLVER.MAX_ITER", "1", "TEST.EXPECTED_RESULTS", "[['sem_seg','mIoU',-9.0,1.0]]")
    run = Run(repo_dir, folder, "training_unexpected", *pairs, *NO_WORKERS)
    assert run.code() == 1
    assert "mIoU" in json.loads((run.output / "results.json").read_text())["sem_seg"]


def test_evaluation_of_random_weights_is_refused(repo_dir, folder):
    run = Run(repo_dir, folder, "random", options=["--eval-only"])
    assert run.code() == 2
    (line,) = errors(run.stderr)
    assert "MODEL.WEIGHTS is empty" in line
    assert "Traceback" not in run.stderr


TORCHRUN = (torch.distributed.run.__file__, "--standalone", "--nproc-per-node=2")
TORCHRUN += ("--max-restarts=1",)
FORKED = (forked_torchrun.__file__,)
EARLY = ("SOLVER.CHECKPOINT_PERIOD", "1")  # saved after each step


@pytest.fixture(scope="module")
def two(repo_dir, folder) -> Run:
    """Two processes as torchrun starts them, uninterrupted."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}
    group |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
    first, second = (
        Run(repo_dir, folder, "two", *EARLY, log=f"two_{rank}", RANK=rank, LOCAL_RANK=rank, **group)
        for rank in ("0", "1")
    )
    second.succeeded()
    return first.succeeded()


def first_gradients(run: Run) -> list[torch.Tensor]:
    """As AdamW has them, which magnifies the smallest differences in its next steps."""
    saved = torch.load(run.output / "model_0000000.pth", weights_only=True)
    states = saved["trainer"]["_trainer"]["optimizer"]["state"]
    return [state["exp_avg"] for state in states.values()]


@pytest.mark.slow
def test_two_processes_on_cpu(repo_dir, folder, two):
    """The same gradients as one process has."""
    assert "Rank of current process: 0. World size: 2" in two.log()
    pairs = (*EARLY, "SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()")
    one = Run(repo_dir, folder, "steps", *pairs).succeeded()
    for ours, expected in zip(first_gradients(two), first_gradients(one), strict=True):
        largest = expected.abs().max().item()
        assert largest > 0
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5 * largest)


@pytest.mark.slow
def test_two_processes_learn(two):
    last = json.loads((two.output / "metrics.json").read_text().splitlines()[-1])
    assert last["sem_seg/IoU-left"] > 50


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the processes in /proc")
@pytest.mark.parametrize(
    "launcher",
    [FORKED, pytest.param(TORCHRUN, marks=pytest.mark.extended)],
    ids=["forked", "torchrun"],
)
def test_a_killed_rank_is_started_anew(repo_dir, folder, two, launcher):
    """By torchrun, both with ``--resume``: the run ends with the weights of the uninterrupted one."""
    pairs = ("SOLVER.CHECKPOINT_PERIOD", "5", "DATASETS.TEST", "()")
    run = Run(repo_dir, folder, "restarted", *pairs, options=["--resume"], launcher=launcher)
    run.wait_for("Saving checkpoint")
    ranks = [
        pid for pid in run.children() if launcher is FORKED or b"train_net.py" in command_of(pid)
    ]
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    run.succeeded()
    starts = re.findall(r"Starting training from iteration (\d+)", run.log())
    assert int(starts[0]) == 0 < int(starts[-1])
    assert_equal(run.weights(), two.weights())


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.slow
def test_several_processes_end_in_order_too(repo_dir, folder, two):
    """The signal reaches the process that the user started, which has the others save and end; what
    they have trained until then is what processes of torchrun train."""
    pairs = ("SOLVER.CHECKPOINT_PERIOD", "3", "SOLVER.MAX_ITER", "10000")
    run = Run(repo_dir, folder, "interrupted", *pairs, options=["--num-gpus", "2"])
    run.wait_for("Saving checkpoint")
    run.send(signal.SIGTERM)
    assert run.code() == 128 + signal.SIGTERM
    assert "SIGTERM: stopped after iteration" in run.log()
    assert "Traceback" not in run.log() + run.stderr
    assert "Rank of current process: 0. World size: 2" in run.log()
    assert_equal(run.weights("model_0000002.pth"), two.weights("model_0000002.pth"))
    last = (run.output / "last_checkpoint").read_text()
    assert f"{int(last[6:13])}, which is saved" in run.log()


def test_image_that_cannot_be_decoded(repo_dir, folder):
    bad = folder / "images" / "3.png"
    content = bad.read_bytes()
    bad.write_bytes(content[:100])
    try:
        run = Run(repo_dir, folder, "undecodable")
        assert run.code() == 2
    finally:
        bad.write_bytes(content)
    (line,) = errors(run.stderr)
    assert str(bad) in line
    assert "Traceback" not in run.stderr


def test_divergence_names_the_images(repo_dir, folder):
    run = Run(repo_dir, folder, "diverged", "SOLVER.BASE_LR", "1e30", "DATASETS.TEST", "()")
    assert run.code() == 1
    (line,) = errors(run.stderr)
    assert re.search(r"3 steps in a row .*SOLVER\.BASE_LR: .*images/\d\.png", line)
    assert "Traceback" not in run.log() + run.stderr
    # what was trained before is there to look at
    assert (run.output / "last_checkpoint").is_file()
