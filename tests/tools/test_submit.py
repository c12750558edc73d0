"""Jobs of submitit that are preempted go on. The local executor stands for SLURM, and a script that
counts for train_net.py, whose end by SIGTERM and exact resumption tests/test_train_net.py has."""

import argparse
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

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


def test_a_training_that_fails_fails_the_job(
    submit: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "state.json").write_text('{"iteration": 20, "lives": 0}')
    assert call(submit, tmp_path / "jobs", "--", tmp_path / "state.json", 3) == 1
    log = capsys.readouterr().err.split("the job failed; ")[1].split(" says why")[0]
    assert "the training ended with exit code 3" in Path(log).read_text()


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
