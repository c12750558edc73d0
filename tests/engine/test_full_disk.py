"""A disk that takes no more ends a run in one line, with the state of the training in it."""

import errno
import logging
import os
from pathlib import Path

import pytest
import torch
from detectron2.engine import default_argument_parser
from toy_training import ToyTrainer, toy_cfg

from d2seg.checkpoint.files import WriteError
from d2seg.engine import launch
from d2seg.engine.full_disk import report_once

OPTS = ("SOLVER.CHECKPOINT_PERIOD", 2)


@pytest.fixture
def full_after_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first checkpoint fits, of all later ones half."""
    save, calls = torch.save, []

    def save_half(data: object, path: str) -> None:
        calls.append(path)
        save(data, path)
        if len(calls) > 1:
            os.truncate(path, os.path.getsize(path) // 2)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", save_half)


def train(folder: Path, *opts: object, resume: bool = False) -> ToyTrainer:
    trainer = ToyTrainer(toy_cfg(folder, *OPTS, *opts))
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def test_a_full_disk_is_one_line(tmp_path, full_after_one, capfd):
    def main(args: object) -> int:
        train(tmp_path)
        return 0

    args = default_argument_parser().parse_args([])
    assert launch.run(main, args) == 1
    error = capfd.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert "Traceback" not in error
    for text in ("cannot write", "model_0000003.pth", "No space left", "model_0000001.pth"):
        assert text in lines[0]
    assert [path.name for path in tmp_path.glob("*.pth*")] == ["model_0000001.pth"]


def test_the_run_goes_on_when_there_is_room(tmp_path, request):
    request.getfixturevalue("full_after_one")
    with pytest.raises(WriteError, match="the last whole checkpoint is model_0000001"):
        train(tmp_path)
    request.getfixturevalue("monkeypatch").undo()
    assert list(train(tmp_path, resume=True).losses) == [2, 3, 4, 5, 6, 7]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_that_cannot_be_written_is_said_once(capfd):
    logger = logging.getLogger("test_full_disk")
    file = open("/dev/full", "w")  # noqa: SIM115
    handler = logging.StreamHandler(file)
    logger.addHandler(handler)
    try:
        report_once(("test_full_disk",))
        for _ in range(3):
            logger.warning("a record")
        file.close()
    finally:
        logger.removeHandler(handler)
    [line] = [line for line in capfd.readouterr().err.splitlines() if "/dev/full" in line]
    assert line.startswith("warning: /dev/full cannot be written to any more: ")


def test_metrics_that_cannot_be_written(tmp_path):
    """The weights, which can, are saved."""
    trainer = ToyTrainer(toy_cfg(tmp_path, "SOLVER.MAX_ITER", 40))
    trainer.resume_or_load(resume=False)
    writer = trainer._hooks[-1]._writers[1]
    writer._file_handle = open("/dev/full", "w")  # noqa: SIM115
    with pytest.raises(WriteError, match=r"No space left .*Iteration 19 is saved; --resume"):
        trainer.train()
    assert (tmp_path / "model_0000019.pth").is_file()
    os.dup2(os.open(os.devnull, os.O_WRONLY), writer._file_handle.fileno())
