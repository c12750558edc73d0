"""Saving loses nothing, and resuming takes the newest checkpoint that can be read."""

import logging
import os
import re
import socket
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import PeriodicCheckpointer
from torch import nn

from d2seg.checkpoint import Checkpointer


class Training:
    """A model of one number and a momentum, with a checkpointer; a step adds one."""

    def __init__(self, folder: Path) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.model.weight)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0, momentum=0.5)
        self.checkpointer = Checkpointer(self.model, str(folder), optimizer=self.optimizer)

    @property
    def value(self) -> float:
        return self.model.weight.item()

    def step(self) -> None:
        self.model.weight.grad = torch.tensor([[-1.0]])
        self.optimizer.step()

    def resume(self) -> dict:
        return self.checkpointer.resume_or_load("", resume=True)


def trained(folder: Path, num_checkpoints: int) -> Training:
    """Checkpoints model_1, model_2, ... one second apart, with iteration 1, 2, ..."""
    training = Training(folder)
    for i in range(1, num_checkpoints + 1):
        training.step()
        training.checkpointer.save(f"model_{i}", iteration=i)
        os.utime(folder / f"model_{i}.pth", (i, i))
    return training


class TestResuming:
    def test_continues_with_model_optimizer_and_the_rest(self, tmp_path: Path) -> None:
        first, second = trained(tmp_path, 2), Training(tmp_path)
        assert second.resume()["iteration"] == 2
        assert second.value == first.value == 2.5  # 1, then 1 + 0.5
        first.step()
        second.step()
        assert second.value == first.value == 4.25  # with the momentum of before

    @pytest.mark.parametrize("damage", ["truncated", "empty", "gone"])
    def test_falls_back_to_the_newest_intact_one(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
    ) -> None:
        trained(tmp_path, 3)
        last = tmp_path / "model_3.pth"
        content = last.read_bytes()
        if damage == "gone":
            last.unlink()
        else:
            last.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
        training = Training(tmp_path)
        with caplog.at_level(logging.WARNING):
            assert training.resume()["iteration"] == 2
        assert training.value == 2.5
        assert "Cannot resume from this checkpoint" in caplog.text
        assert str(last) in caplog.text

    def test_the_order_is_by_time(self, tmp_path: Path) -> None:
        trained(tmp_path, 3)
        (tmp_path / "model_3.pth").write_bytes(b"")
        os.utime(tmp_path / "model_1.pth", (9, 9))
        assert Training(tmp_path).resume()["iteration"] == 1

    def test_a_clock_that_was_turned_back(self, tmp_path: Path) -> None:
        """The tag and the numbers agree on what is newest, and it is whole."""
        for last in ("model_3.pth", "model_2.pth"):
            trained(tmp_path, 3)
            os.utime(tmp_path / "model_1.pth", (2**33, 2**33))
            (tmp_path / "last_checkpoint").write_text(last)
            newest = 3 if last == "model_3.pth" else 1  # a tag of an older one tells nothing
            assert Training(tmp_path).resume()["iteration"] == newest

    @pytest.mark.parametrize("kind", ["pipe", "sparse"])
    def test_a_tag_that_has_no_end(self, tmp_path: Path, kind: str) -> None:
        trained(tmp_path, 2)
        tag = tmp_path / "last_checkpoint"
        if kind == "pipe":
            tag.unlink()
            os.mkfifo(tag)
        else:
            os.truncate(tag, 1 << 36)
        assert Training(tmp_path).resume()["iteration"] == 2

    def test_weights_alone_are_no_fallback(self, tmp_path: Path) -> None:
        trained(tmp_path, 2)
        (tmp_path / "model_2.pth").write_bytes(b"")
        torch.save({"model": nn.Linear(1, 1, bias=False).state_dict()}, tmp_path / "model_best.pth")
        assert Training(tmp_path).resume()["iteration"] == 1

    def test_a_damaged_tag(self, tmp_path: Path) -> None:
        trained(tmp_path, 2)
        (tmp_path / "last_checkpoint").write_text("")
        assert Training(tmp_path).resume()["iteration"] == 2

    def test_nothing_readable(self, tmp_path: Path) -> None:
        trained(tmp_path, 2)
        for path in tmp_path.glob("*.pth"):
            path.write_bytes(b"")
        with pytest.raises(ValueError, match=f"none of the 2 checkpoints in {tmp_path} can"):
            Training(tmp_path).resume()

    def test_another_model_is_refused_at_once(self, tmp_path: Path) -> None:
        trained(tmp_path, 2)
        training = Training(tmp_path)
        training.checkpointer.model = nn.Linear(2, 1, bias=False)
        with pytest.raises(ValueError, match=r"model_2\.pth is of another architecture"):
            training.resume()

    def test_without_checkpoints_weights_are_loaded_alone(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        trained(tmp_path / "a", 1)
        training = Training(tmp_path / "b")
        training.checkpointer.resume_or_load(str(tmp_path / "a" / "model_1.pth"), resume=True)
        training.step()
        assert training.value == 2.0  # no momentum

    def test_require_complete_reaches_load(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"MODEL\.WEIGHTS is empty"):
            Training(tmp_path).checkpointer.resume_or_load("", require_complete=True)


class TestSaving:
    def test_leaves_the_checkpoint_and_its_tag(self, tmp_path: Path) -> None:
        trained(tmp_path, 1)
        assert {path.name for path in tmp_path.iterdir()} == {"model_1.pth", "last_checkpoint"}
        assert (tmp_path / "last_checkpoint").read_text() == "model_1.pth"

    def test_a_full_disk_leaves_the_earlier_ones(self, tmp_path: Path, small_disk: None) -> None:
        training = trained(tmp_path, 2)
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(OSError, match=r"model_3\.pth.* Earlier checkpoints are intact"):
            training.checkpointer.save("model_3", ballast=torch.ones(100_000))
        with pytest.raises(OSError, match=r"model_2\.pth"):  # the same name
            training.checkpointer.save("model_2", ballast=torch.ones(100_000))
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
        assert Training(tmp_path).resume()["iteration"] == 2
        training.checkpointer.save("model_3", iteration=3)
        assert Training(tmp_path).resume()["iteration"] == 3

    def test_remains_of_a_killed_run_are_cleared(self, tmp_path: Path) -> None:
        (tmp_path / "model_7.pth.tmp").write_bytes(b"half a checkpoint")
        trained(tmp_path, 1)
        assert not (tmp_path / "model_7.pth.tmp").exists()

    def test_files_that_others_are_writing_are_left_alone(self, tmp_path: Path) -> None:
        dead = os.fork()
        if dead == 0:
            os._exit(0)
        os.waitpid(dead, 0)
        host = re.sub(r"\W", "_", socket.gethostname())
        stay = [
            f"model_7.pth.{host}-{os.getpid()}-0123abcd.tmp",  # of a process that lives
            f"model_7.pth.elsewhere-{dead}-0123abcd.tmp",  # of another machine
            "notes.tmp",
        ]
        go = [f"{name}.{host}-{dead}-0123abcd.tmp" for name in ("model_7.pth", "last_checkpoint")]
        for name in (*stay, *go, "model_5.pth.elsewhere-7-0123abcd.tmp"):
            (tmp_path / name).touch()
        os.utime(tmp_path / "model_5.pth.elsewhere-7-0123abcd.tmp", (1, 1))
        trained(tmp_path, 1)
        assert {path.name for path in tmp_path.glob("*.tmp")} == set(stay)

    def test_only_the_main_process_writes(self, tmp_path: Path) -> None:
        Checkpointer(nn.Linear(1, 1), str(tmp_path), save_to_disk=False).save("model")
        Checkpointer(nn.Linear(1, 1)).save("model")
        assert not list(tmp_path.iterdir())

    def test_old_checkpoints_are_removed_by_detectron2s_hook(self, tmp_path: Path) -> None:
        periodic = PeriodicCheckpointer(
            Checkpointer(nn.Linear(1, 1), str(tmp_path)), period=2, max_iter=9, max_to_keep=2
        )
        for iteration in range(9):
            periodic.step(iteration)
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "last_checkpoint",
            "model_0000005.pth",
            "model_0000007.pth",
            "model_final.pth",
        ]
