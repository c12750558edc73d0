"""Jobs of submitit that are preempted go on. The local executor stands for SLURM and, but for the
extended test, a script that counts for train_net.py, whose end by SIGTERM and exact resumption
tests/test_train_net.py has."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from d2seg.names import printable

COUNTING = """
import json, os, signal, sys, time
from pathlib import Path

arguments = sys.argv[1:]
assert arguments[:3] == ["--resume", "--num-gpus", "2"], arguments
state = Path(arguments[3])
done = json.loads(state.read_text()) if state.exists() else {"iteration": 0, "lives": 0}
done["lives"] += 1
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
while done["iteration"] < 20:
    done["iteration"] += 1
    if done["iteration"] == 7:
        os.kill(os.getppid(), signal.SIGUSR2)  # as SLURM does
        while not stopped:
            time.sleep(0.01)
    if stopped:
        state.write_text(json.dumps(done))
        sys.exit(128 + signal.SIGTERM)
state.write_text(json.dumps(done))
sys.exit(int(arguments[4]))
"""

# train_net.py; in its first life it is preempted, as SLURM does, once iteration 7 is saved
PREEMPTED = """
import os, signal, sys, threading, time
from pathlib import Path

from d2seg.cli.train import main


def preempt(checkpoint):
    while not checkpoint.exists():
        time.sleep(0.02)
    os.kill(os.getppid(), signal.SIGUSR2)


if __name__ == "__main__":
    checkpoint = Path(sys.argv[sys.argv.index("OUTPUT_DIR") + 1], "model_0000006.pth")
    if not checkpoint.exists():
        threading.Thread(target=preempt, args=(checkpoint,), daemon=True).start()
    sys.exit(main())
"""


@pytest.fixture
def submit(load_tool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    tool = load_tool("submit")
    (tmp_path / "count.py").write_text(COUNTING)
    monkeypatch.setattr(tool, "TRAIN", tmp_path / "count.py")
    return tool


def call(submit: ModuleType, folder: Path, *arguments: object) -> int:
    cloudpickle = pytest.importorskip("submitit.core.utils").cloudpickle
    cloudpickle.register_pickle_by_value(submit)  # as what stands in a script is
    try:
        given = ("--cluster", "local", "--folder", folder, "--processes", 2, "--cpu", *arguments)
        return submit.main([str(item) for item in given])
    finally:
        cloudpickle.unregister_pickle_by_value(submit)


def test_what_is_preempted_at_iteration_7_of_20_is_done_in_a_second_life(
    submit: ModuleType, tmp_path: Path
) -> None:
    assert call(submit, tmp_path / "jobs", "--", tmp_path / "state.json", 0) == 0
    assert json.loads((tmp_path / "state.json").read_text()) == {"iteration": 20, "lives": 2}


@pytest.mark.extended
@pytest.mark.usefixtures("few_shapes")
def test_two_processes_preempted_end_with_the_weights_of_the_uninterrupted_run(
    submit: ModuleType, tmp_path: Path, repo_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(repo_dir / "projects"))
    script = tmp_path / "preempted.py"
    script.write_text(PREEMPTED)
    monkeypatch.setattr(submit, "TRAIN", script)
    training = ["--config-file", "segformer/shapes_semantic_small", "MODEL.DEVICE", "cpu"]
    training += ["SOLVER.MAX_ITER", "20", "SOLVER.IMS_PER_BATCH", "4", "DATASETS.TEST", "()"]
    training += ["SOLVER.CHECKPOINT_PERIOD", "7", "OUTPUT_DIR"]
    assert call(submit, tmp_path / "jobs", "--", *training, tmp_path / "preempted") == 0
    log = (tmp_path / "preempted" / "log.txt").read_text()
    assert "SIGTERM: stopped after iteration" in log
    assert log.count("Starting training from iteration") == 2
    whole = [sys.executable, str(repo_dir / "train_net.py"), "--num-gpus", "2"]
    done = subprocess.run([*whole, *training, str(tmp_path / "whole")], check=False)
    assert done.returncode == 0
    ours, expected = (
        torch.load(tmp_path / name / "model_final.pth", weights_only=True)["model"]
        for name in ("preempted", "whole")
    )
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)


@pytest.mark.parametrize("folder", ["jobs", "odd\n\x1b[31m"])
def test_a_training_that_fails_fails_the_job(
    submit: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture, folder: str
) -> None:
    (tmp_path / "state.json").write_text('{"iteration": 20, "lives": 0}')
    assert call(submit, tmp_path / folder, "--", tmp_path / "state.json", 3) == 1
    said = capsys.readouterr()
    log = said.err.split("the job failed; ")[1].split(" says why")[0]
    (file,) = (tmp_path / folder).glob("*_log.err")
    assert log == printable(file)
    assert "the training ended with exit code 3" in file.read_text()
    assert f"its output goes to {tmp_path}/{printable(folder)}/" in said.out


def test_machines_meet_at_the_first(submit: ModuleType) -> None:
    training = submit.Training("train_net.py", ["OUTPUT_DIR", "out"], nodes=4, processes=8)
    first, last = (training.command(node, "host0", "123_4") for node in (0, 3))
    assert first[1:4] == ["train_net.py", "--resume", "--num-gpus"]
    assert first[-2:] == ["OUTPUT_DIR", "out"]
    places = [command.index("--machine-rank") + 1 for command in (first, last)]
    assert [command[place] for command, place in zip((first, last), places, strict=True)] == [
        "0",
        "3",
    ]
    assert first[first.index("--dist-url") + 1].startswith("tcp://host0:")
    assert [*first[: places[0]], *first[places[0] + 1 :]] == [
        *last[: places[1]],
        *last[places[1] + 1 :],
    ]
    alone = submit.Training("train_net.py", [], nodes=1, processes=1)
    assert alone.command(0, "host0", "1") == [
        sys.executable,
        "train_net.py",
        "--resume",
        "--num-gpus",
        "1",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--nodes", 0), "--nodes is 0; it is 1 or more"),
        (("--nodes", 2), "--cluster local is this machine alone"),
        (("--slurm", "gpu"), "--slurm takes KEY=VALUE, not gpu"),
        (("--slurm", "g\n\x1b[31m"), r"--slurm takes KEY=VALUE, not g\n\x1b[31m"),
    ],
)
def test_mistakes(
    submit: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    arguments: tuple,
    message: str,
) -> None:
    assert call(submit, tmp_path, *arguments) == 2
    assert message in capsys.readouterr().err


def test_without_submitit(
    submit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ImportError, match="pip install submitit"):
        submit.executor_of(argparse.Namespace())
