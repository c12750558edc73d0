"""d2seg.engine.launch: exit codes, one line for a mistake, and how many processes there can be."""

import argparse
import os

import pytest
import torch
from detectron2.engine import default_argument_parser
from torch.utils.data import DataLoader, Dataset

from d2seg.engine import launch
from d2seg.engine.launch import run
from d2seg.engine.train_step import TrainingDivergedError


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    """OUTPUT_DIR is relative."""
    monkeypatch.chdir(tmp_path)


def parse(*argv: str) -> argparse.Namespace:
    return default_argument_parser().parse_args(argv)


def failing(error: Exception):
    def main(args: argparse.Namespace) -> int:
        raise error

    return main


@pytest.mark.parametrize("code", [0, 143])
def test_exit_code_of_main(code):
    assert run(lambda args: code, parse()) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("key: too\nlong"), 2),
        (ImportError("key: too long"), 2),
        (TrainingDivergedError("key: too long"), 1),
    ],
)
def test_mistakes_are_one_line(error, code, capsys, monkeypatch):
    assert run(failing(error), parse()) == code
    hint = " (D2SEG_TRACEBACK=1 in the environment shows where)"  # as it is not d2seg that raises
    assert capsys.readouterr().err == f"error: key: too long{hint}\n"
    monkeypatch.setenv(launch.TRACEBACK_VARIABLE, "1")
    with pytest.raises(type(error)):
        run(failing(error), parse())


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError):
        run(failing(ZeroDivisionError()), parse())


class Broken(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        raise ValueError("labels/7.png: value 9: not a class")


def test_a_mistake_that_a_worker_finds(capsys):
    assert run(lambda args: len(list(DataLoader(Broken(), num_workers=1))), parse()) == 2
    assert capsys.readouterr().err == "error: labels/7.png: value 9: not a class\n"


def test_more_processes_than_devices(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(launch, "launch", lambda *args, **kwargs: pytest.fail("launched"))
    train = ("DATASETS.TRAIN", "('toy',)")
    assert run(lambda args: 0, parse("--num-gpus", "2", *train)) == 2
    assert "--num-gpus is 2, but this machine has 1 CUDA devices" in capsys.readouterr().err
    assert run(lambda args: 0, parse("--num-gpus", "3", *train, "MODEL.DEVICE", "cpu")) == 2
    assert "IMS_PER_BATCH 16 must be a multiple" in capsys.readouterr().err


@pytest.mark.parametrize("starter", ["launch", "torchrun"])
def test_one_device_for_several_processes(capsys, monkeypatch, starter):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(launch, "launch", lambda *args, **kwargs: pytest.fail("launched"))
    options = ["--num-gpus", "2"] if starter == "launch" else []
    if starter == "torchrun":
        for name in ("RANK", "LOCAL_RANK"):
            monkeypatch.setenv(name, "0")
        for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            monkeypatch.setenv(name, "2")
    pairs = ("DATASETS.TRAIN", "('toy',)", "MODEL.DEVICE", "cuda:1")
    assert run(lambda args: 0, parse(*options, *pairs)) == 2
    error = capsys.readouterr().err
    assert "MODEL.DEVICE is 'cuda:1'" in error
    assert "set MODEL.DEVICE cuda" in error


def test_cpu_processes_see_no_gpu(monkeypatch):
    """Else detectron2's launcher would have them talk by NCCL, which CPU tensors cannot."""
    seen = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(launch, "check_data", lambda *args: None)
    monkeypatch.setattr(
        launch, "launch", lambda *args, **kwargs: seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    )
    train = ("DATASETS.TRAIN", "('toy',)", "MODEL.DEVICE", "cpu")
    assert run(lambda args: 0, parse("--num-gpus", "2", *train)) == 0
    assert seen == [""]


def test_under_torchrun_the_command_line_does_not_count_processes(monkeypatch, capsys):
    for name, value in {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "2",
    }.items():
        monkeypatch.setenv(name, value)
    assert run(lambda args: 0, parse("--num-gpus", "2")) == 2
    assert "--nproc-per-node" in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert run(lambda args: 0, parse("DATASETS.TRAIN", "('toy',)")) == 2
    assert "torchrun started 2 processes" in capsys.readouterr().err


@pytest.mark.parametrize(("exit_code", "expected"), [(2, 2), (-9, 137)])
def test_code_of_a_process_that_failed(monkeypatch, exit_code, expected):
    def launched(*args, **kwargs) -> None:
        raise launch.ProcessExitedException("failed", 0, 1, exit_code)

    monkeypatch.setattr(launch, "launch", launched)
    monkeypatch.setattr(launch, "check_data", lambda *args: None)
    train = ("DATASETS.TRAIN", "('toy',)", "MODEL.DEVICE", "cpu")
    assert run(lambda args: 0, parse("--num-gpus", "2", *train)) == expected


def test_each_run_has_a_port_of_its_own(monkeypatch):
    """detectron2's default is one port for all runs of a user."""
    seen = []
    monkeypatch.setattr(launch, "check_data", lambda *args: None)
    monkeypatch.setattr(launch, "launch", lambda *args, **kwargs: seen.append(kwargs["dist_url"]))
    train = ("DATASETS.TRAIN", "('toy',)", "MODEL.DEVICE", "cpu")
    given = ("--dist-url", "tcp://127.0.0.1:7")
    machines = ("--num-machines", "2", *given)
    for options in [(), given, machines]:
        assert run(lambda args: 0, parse("--num-gpus", "2", *options, *train)) == 0
    assert seen == ["auto", given[1], given[1]]
