"""The data set "shapes" is made once, whole or not at all, and nothing else is touched."""

import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from d2seg.data.shapes import generate
from d2seg.data.shapes.generate import VERSION, ensure_shapes

FEW = {"train": 2, "val": 1}


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "datasets" / "shapes"


def made(folder: Path) -> bool:
    return (folder / "stamp.json").is_file() and (folder / "images_val" / "100001.jpg").is_file()


def others(folder: Path) -> set[str]:
    """What lies beside the data set, except for the lock's file."""
    return {p.name for p in folder.parent.iterdir()} - {folder.name, folder.name + ".lock"}


def set_stamp(folder: Path, **changes) -> None:
    stamp = json.loads((folder / "stamp.json").read_text())
    (folder / "stamp.json").write_text(json.dumps({**stamp, **changes}))


def error_of(folder: Path, num_images: dict[str, int] = FEW) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the callers check the text)
        ensure_shapes(folder, num_images)
    message = str(caught.value)
    assert "\n" not in message
    assert "DETECTRON2_DATASETS" in message
    return message


def test_second_call_touches_nothing(folder):
    ensure_shapes(folder, FEW)
    assert made(folder)
    (folder.parent / "shapes.lock").unlink()
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    ensure_shapes(folder, FEW)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    assert os.listdir(folder.parent) == ["shapes"]  # no lock either: it may be read-only


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_crash_leaves_nothing_behind(folder, monkeypatch, error):
    def crash(*args):
        assert others(folder)  # in the middle of it
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(generate, "_write_json", crash)
        with pytest.raises(error):
            ensure_shapes(folder, FEW)
    assert not folder.exists()
    assert not others(folder)
    ensure_shapes(folder, FEW)
    assert made(folder)


def test_a_crash_leaves_the_outdated_data_set(folder, monkeypatch):
    ensure_shapes(folder, FEW)
    set_stamp(folder, version=VERSION - 1)

    def crash(*args):
        raise RuntimeError

    monkeypatch.setattr(generate, "_write_json", crash)
    with pytest.raises(RuntimeError):
        ensure_shapes(folder, FEW)
    assert made(folder)
    assert not others(folder)


def test_leftovers_of_a_killed_process_are_removed(folder):
    for name in (".shapes.d2seg-incomplete", ".shapes.d2seg-outdated"):
        (folder.parent / name).mkdir(parents=True)
        (folder.parent / name / "half").write_text("")
    ensure_shapes(folder, FEW)
    assert made(folder)
    assert not others(folder)


def test_full_disk(folder, monkeypatch):
    def write_bytes(path, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    message = error_of(folder)
    assert str(folder) in message
    assert os.strerror(errno.ENOSPC) in message
    assert not others(folder)
    assert not folder.exists()


def test_root_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    assert os.strerror(errno.ENOTDIR) in error_of(tmp_path / "file" / "datasets" / "shapes")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may write anywhere")
def test_read_only_root(folder):
    folder.parent.mkdir()
    folder.parent.chmod(0o555)
    assert os.strerror(errno.EACCES) in error_of(folder)


def test_outdated_data_set_is_made_anew(folder):
    ensure_shapes(folder, FEW)
    set_stamp(folder, version=VERSION - 1)
    (folder / "images_train" / "000001.jpg").write_bytes(b"old")
    ensure_shapes(folder, FEW)
    assert json.loads((folder / "stamp.json").read_text())["version"] == VERSION
    assert (folder / "images_train" / "000001.jpg").stat().st_size > 1000
    assert not others(folder)


def test_outdated_data_set_with_own_files_is_kept(folder):
    ensure_shapes(folder, FEW)
    set_stamp(folder, version=VERSION - 1)
    (folder / "mine.txt").write_text("dear")
    assert "mine.txt" in error_of(folder)
    assert (folder / "mine.txt").read_text() == "dear"


def test_newer_data_set_is_kept(folder):
    ensure_shapes(folder, FEW)
    set_stamp(folder, version=VERSION + 1)
    assert f"version {VERSION + 1}" in error_of(folder)
    assert made(folder)


def test_other_parameters_are_kept(folder):
    ensure_shapes(folder, FEW)
    assert "num_images" in error_of(folder, {"train": 3})
    assert made(folder)


@pytest.mark.parametrize(
    "stamp", [None, "{", "[1]", '{"version": 1}', '{"name": "x", "version": 1}']
)
def test_foreign_folder_is_kept(folder, stamp):
    folder.mkdir(parents=True)
    (folder / "photo.jpg").write_text("dear")
    if stamp is not None:
        (folder / "stamp.json").write_text(stamp)
    assert "not made by" in error_of(folder)
    assert (folder / "photo.jpg").read_text() == "dear"
    assert not others(folder)


def test_file_in_its_place_is_kept(folder):
    folder.parent.mkdir()
    folder.write_text("dear")
    assert "not made by" in error_of(folder)
    assert folder.read_text() == "dear"


def test_empty_folder_and_link_to_one(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    folder.parent.mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    ensure_shapes(folder, FEW)
    assert folder.is_symlink()
    assert made(tmp_path / "elsewhere")


def _ask(folder: Path, start, num_made) -> None:
    write = generate._write_dataset

    def counted(*args):
        with num_made.get_lock():
            num_made.value += 1
        write(*args)

    generate._write_dataset = counted
    start.wait()
    ensure_shapes(folder, FEW)
    assert made(folder)


def test_processes_that_ask_at_once(folder):
    context = multiprocessing.get_context("fork")
    num_processes = 4
    start, num_made = context.Barrier(num_processes), context.Value("i", 0)
    processes = [
        context.Process(target=_ask, args=(folder, start, num_made)) for _ in range(num_processes)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * num_processes
    assert num_made.value == 1
    assert not others(folder)
