"""One run at a time writes to OUTPUT_DIR, and none overwrites an earlier one unasked."""

import os
import resource
import shutil
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from test_trainer import At
from toy_training import ToyTrainer, toy_cfg

from d2seg.engine.output_folder import LOCK_FILE, check_folder, claim_folder, hold, locked


@pytest.fixture
def small_room():
    """No file can grow beyond 1 kB: the operating system's limit stands for a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(params=["trains", "prepares"])
def other_run(tmp_path: Path, request: pytest.FixtureRequest):
    """The id of a process that has the folder."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        if request.param == "prepares":
            claim_folder(tmp_path, resume=False, overwrite=False)
            hold(tmp_path)
        with locked(tmp_path) if request.param == "trains" else nullcontext():
            os.write(writer, b"held")
            time.sleep(60)
        os._exit(0)
    assert os.read(reader, 4) == b"held"
    yield process
    os.close(reader)
    os.close(writer)


def test_a_second_run_is_refused_until_the_first_is_dead(tmp_path, other_run):
    (tmp_path / "model_0000003.pth.host-1-ab.tmp").write_bytes(b"being written")
    with pytest.raises(ValueError, match=rf"in use by another run \(process {other_run}\)"):
        claim_folder(tmp_path, resume=True, overwrite=False)
    with pytest.raises(ValueError, match="in use by another run"):
        ToyTrainer(toy_cfg(tmp_path)).train()
    assert not list(tmp_path.glob("*.pth"))
    os.kill(other_run, signal.SIGKILL)
    os.waitpid(other_run, 0)
    claim_folder(tmp_path, resume=True, overwrite=False)


def is_free(folder: Path) -> bool:
    """Whether another process could have it."""
    process = os.fork()
    if process == 0:
        try:
            claim_folder(folder, resume=True, overwrite=False)
        except ValueError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(process, 0)[1] == 0


def test_the_same_run_may_ask_twice(tmp_path):
    hold(tmp_path)
    assert not is_free(tmp_path)
    with locked(tmp_path):
        assert not is_free(tmp_path)
    assert is_free(tmp_path)
    with locked(tmp_path):
        assert (tmp_path / LOCK_FILE).is_file()


@pytest.mark.parametrize("is_taken", [False, True])
@pytest.mark.parametrize("what", ["folder", "lock"])
def test_a_folder_that_was_removed(tmp_path, what, is_taken, caplog):
    """A user clears what is in the way of a new run, and the old one is alive."""
    folder = tmp_path / "out"
    free, told = os.pipe()

    def remove() -> None:
        shutil.rmtree(folder) if what == "folder" else (folder / LOCK_FILE).unlink()
        if is_taken and os.fork() == 0:
            hold(folder)
            os.write(told, b"held")
            time.sleep(60)
            os._exit(0)
        elif is_taken:
            os.read(free, 4)

    trainer = ToyTrainer(toy_cfg(folder))
    trainer.register_hooks([At(2, remove)])
    if is_taken:
        with pytest.raises(ValueError, match="in use by another run"):
            trainer.train()
        assert not list(folder.glob("*.pth"))
        os.kill(int((folder / LOCK_FILE).read_text()), signal.SIGKILL)
        os.wait()
    else:
        trainer.train()
        assert (folder / "model_final.pth").is_file()
        assert "was removed and is made anew" in caplog.text
    os.close(free)
    os.close(told)


def test_an_earlier_run_is_not_overwritten(tmp_path):
    records = ("metrics.json", "report.html", "events.out.tfevents.1.host.2.0", "config.yaml")
    for name in ("model_0000001.pth", "model_best.pth", *records, "vocabulary.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "model_final.pth").symlink_to("gone")
    claim_folder(tmp_path, resume=True, overwrite=False)
    with pytest.raises(ValueError, match=r"holds 3 checkpoints .*--resume .*SOLVER\.OVERWRITE"):
        claim_folder(tmp_path, resume=False, overwrite=False)
    claim_folder(tmp_path, resume=False, overwrite=True)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {LOCK_FILE, "vocabulary.txt", "config.yaml", "earlier-1"}
    for name in ("model_0000001.pth", *records):
        assert (tmp_path / "earlier-1" / name).read_text() == name
    (tmp_path / "model_0000001.pth").touch()
    claim_folder(tmp_path, resume=False, overwrite=True)
    assert (tmp_path / "earlier-2" / "model_0000001.pth").exists()


@pytest.mark.parametrize("name", ["metrics.json", "last_checkpoint", "log.txt", ".lock"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_what_is_no_file_is_named_before_the_training(tmp_path, name, kind):
    path = tmp_path / name
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("gone/file")
    with pytest.raises(ValueError, match=rf"OUTPUT_DIR .*: {name} is no file .*; remove it"):
        claim_folder(tmp_path, resume=True, overwrite=False)


def test_the_same_folder_under_another_name(tmp_path, other_run):
    (tmp_path.parent / f"{tmp_path.name}_link").symlink_to(tmp_path)
    for other in (
        f"{tmp_path}_link",
        f"{tmp_path}/../{tmp_path.name}/.",
        os.path.relpath(tmp_path),
    ):
        with pytest.raises(ValueError, match="in use by another run"):
            claim_folder(other, resume=True, overwrite=False)
    os.kill(other_run, signal.SIGKILL)
    os.waitpid(other_run, 0)


def test_a_full_disk_is_found_before_the_training(tmp_path, small_room):
    with pytest.raises(ValueError, match=r"OUTPUT_DIR .* cannot be written to .*make room"):
        check_folder(str(tmp_path / "out"))


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"OUTPUT_DIR .*/file/out cannot be written to \(Not a"):
        claim_folder(tmp_path / "file" / "out", resume=False, overwrite=False)
    (tmp_path / "link").symlink_to("gone")
    for name, reason in {"file": "a file", "link": "a link to nowhere"}.items():
        with pytest.raises(ValueError, match=rf"/{name} cannot be written to \(it is {reason}\)"):
            check_folder(str(tmp_path / name))
