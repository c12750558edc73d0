"""Checkpoint files: every format is read, damage and absence are told plainly, writing is atomic."""

import json
import pickle
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from d2seg.checkpoint.files import (
    CheckpointFileError,
    WriteError,
    find_file,
    read_checkpoint,
    write_atomically,
)

WEIGHTS = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}
ARRAYS = {name: tensor.numpy() for name, tensor in WEIGHTS.items()}


def save_pickle(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def save_shards(folder: Path) -> Path:
    names = {name: f"model-{i}.safetensors" for i, name in enumerate(WEIGHTS)}
    for name, file in names.items():
        save_file({name: WEIGHTS[name]}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return index


WRITERS: dict[str, Callable[[Path], None]] = {
    "model.pth": lambda path: torch.save({"model": WEIGHTS, "iteration": 3}, path),
    "old.pth": lambda path: torch.save(
        {"model": WEIGHTS}, path, _use_new_zipfile_serialization=False
    ),
    "state_dict.pt": lambda path: torch.save({"state_dict": WEIGHTS, "meta": {}}, path),
    "pytorch_model.bin": lambda path: torch.save(WEIGHTS, path),
    "model.safetensors": lambda path: save_file(WEIGHTS, path),
    "zoo.pkl": lambda path: save_pickle({"model": ARRAYS, "__author__": "x"}, path),
    "swin.pkl": lambda path: save_pickle({"model": WEIGHTS, "matching_heuristics": True}, path),
    "jax.npz": lambda path: np.savez(path, **ARRAYS),
    "torch.pkl": lambda path: torch.save({"model": WEIGHTS}, path),
    "pycls.pyth": lambda path: torch.save({"model_state": WEIGHTS, "epoch": 1}, path),
}


def assert_weights(state: dict[str, Tensor]) -> None:
    assert set(state) == set(WEIGHTS)
    assert all(torch.equal(state[name], WEIGHTS[name]) for name in WEIGHTS)


class TestReading:
    @pytest.mark.parametrize("name", WRITERS)
    def test_every_format(self, tmp_path: Path, name: str) -> None:
        WRITERS[name](tmp_path / name)
        assert_weights(read_checkpoint(str(tmp_path / name))["model"])

    def test_what_stands_beside_the_weights(self, tmp_path: Path) -> None:
        WRITERS["model.pth"](tmp_path / "model.pth")
        assert read_checkpoint(str(tmp_path / "model.pth"))["iteration"] == 3

    @pytest.mark.parametrize("blobs", [True, False])
    def test_caffe2(self, tmp_path: Path, blobs: bool) -> None:
        arrays = {"conv1_w": np.ones((2, 2), np.float32), "conv1_b": np.zeros(2, np.float32)}
        with_momentum = arrays | {"conv1_w_momentum": np.ones((2, 2), np.float32)}
        save_pickle({"blobs": with_momentum} if blobs else with_momentum, tmp_path / "c.pkl")
        checkpoint = read_checkpoint(str(tmp_path / "c.pkl"))
        assert set(checkpoint["model"]) == set(arrays)
        assert checkpoint["__author__"] == "Caffe2"
        assert checkpoint["matching_heuristics"]

    def test_versions_of_modules_are_kept(self, tmp_path: Path) -> None:
        """torch keeps them beside the weights, for modules that upgrade old weights."""
        state = torch.nn.BatchNorm2d(2).state_dict()
        torch.save({"model": state}, tmp_path / "m.pth")
        loaded = read_checkpoint(str(tmp_path / "m.pth"))["model"]
        assert loaded._metadata[""]["version"] == 2

    def test_entries_that_are_no_tensors_are_left_out(self, tmp_path: Path) -> None:
        torch.save({**WEIGHTS, "epoch": 3}, tmp_path / "m.pth")
        assert_weights(read_checkpoint(str(tmp_path / "m.pth"))["model"])


class TestDamage:
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
    @pytest.mark.parametrize("name", WRITERS)
    def test_truncated(self, tmp_path: Path, name: str, share: float) -> None:
        path = tmp_path / name
        WRITERS[name](path)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        # cut inside a name, a pickle asks for another one, which is refused
        with pytest.raises(CheckpointFileError, match=r"truncated or not|is refused") as raised:
            read_checkpoint(str(path))
        assert str(path) in str(raised.value)
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize("suffix", [".pth", ".pkl", ".safetensors", ".bin"])
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
            (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
            (bytes(100), "100 bytes"),
        ],
    )
    def test_something_else(
        self, tmp_path: Path, suffix: str, content: bytes, message: str
    ) -> None:
        path = tmp_path / f"model{suffix}"
        path.write_bytes(content)
        with pytest.raises(CheckpointFileError, match=message):
            read_checkpoint(str(path))

    def test_without_weights(self, tmp_path: Path) -> None:
        torch.save({"epoch": 3, "nested": {"weights": WEIGHTS}}, tmp_path / "m.pth")
        with pytest.raises(CheckpointFileError, match=r"no weights; .* \['epoch', 'nested'\]"):
            read_checkpoint(str(tmp_path / "m.pth"))

    def test_no_dict(self, tmp_path: Path) -> None:
        torch.save([1, 2], tmp_path / "m.pth")
        with pytest.raises(CheckpointFileError, match="holds a list, not named weights"):
            read_checkpoint(str(tmp_path / "m.pth"))

    def test_unsafe(self, tmp_path: Path) -> None:
        torch.save({"model": WEIGHTS, "hook": print}, tmp_path / "m.pth")
        with pytest.raises(CheckpointFileError, match="'print' could run code, so it is refused"):
            read_checkpoint(str(tmp_path / "m.pth"))

    def test_the_remedy_for_an_unsafe_file_is_safe(self, tmp_path: Path) -> None:
        torch.save({"model": WEIGHTS, "time": timedelta(1)}, tmp_path / "m.pth")
        with pytest.raises(CheckpointFileError, match="add_safe_globals") as raised:
            read_checkpoint(str(tmp_path / "m.pth"))
        assert "weights_only" not in str(raised.value)
        with torch.serialization.safe_globals([timedelta]):  # as the message says
            model = torch.load(tmp_path / "m.pth")["model"]
        torch.save({"model": model}, tmp_path / "anew.pth")
        assert read_checkpoint(str(tmp_path / "anew.pth"))["model"].keys() == WEIGHTS.keys()

    @pytest.mark.parametrize("names", [{0: torch.ones(1)}, {None: torch.ones(1)}])
    def test_names_that_are_no_text(self, tmp_path: Path, names: dict) -> None:
        torch.save({"model": names}, tmp_path / "m.pth")
        with pytest.raises(CheckpointFileError, match=r"a tensor is named (0|None), which is no"):
            read_checkpoint(str(tmp_path / "m.pth"))


class TestFinding:
    def test_file(self, tmp_path: Path) -> None:
        (tmp_path / "m.pth").touch()
        assert find_file(str(tmp_path / "m.pth")) == str(tmp_path / "m.pth")

    def test_missing_file_names_the_path_and_its_neighbours(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "model_final.pth").touch()
        (tmp_path / "unlike").touch()
        monkeypatch.chdir(tmp_path)
        with pytest.raises(CheckpointFileError) as raised:
            find_file("model_fnal.pth")
        message = str(raised.value)
        assert message == f"no checkpoint at {tmp_path}/model_fnal.pth; near it: model_final.pth"

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointFileError, match=f"there is no folder {tmp_path}/gone"):
            find_file(f"{tmp_path}/gone/model.pth")

    def test_folder_of_transformers(self, tmp_path: Path) -> None:
        torch.save(WEIGHTS, tmp_path / "pytorch_model.bin")
        assert find_file(str(tmp_path)) == str(tmp_path / "pytorch_model.bin")
        save_shards(tmp_path)
        assert_weights(read_checkpoint(find_file(str(tmp_path)))["model"])
        save_file(WEIGHTS, tmp_path / "model.safetensors")
        assert find_file(str(tmp_path)) == str(tmp_path / "model.safetensors")

    def test_folder_without_weights(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointFileError, match=r"has none of model\.safetensors"):
            find_file(str(tmp_path))

    def test_missing_and_damaged_shards_are_named(self, tmp_path: Path) -> None:
        index = save_shards(tmp_path)
        (tmp_path / "model-1.safetensors").write_bytes(b"")
        with pytest.raises(CheckpointFileError, match=r"model-1\.safetensors is truncated"):
            read_checkpoint(str(index))
        (tmp_path / "model-1.safetensors").unlink()
        with pytest.raises(
            CheckpointFileError, match=r"lists 2 files, of which 1 are missing: model-1\.safe"
        ):
            read_checkpoint(str(index))

    @pytest.mark.parametrize("url", ["http://127.0.0.1:9/model.pth", "catalog://no/such/model"])
    def test_address_that_gives_nothing(self, url: str) -> None:
        with pytest.raises(CheckpointFileError, match=f"cannot fetch the checkpoint {url}: "):
            find_file(url)


class TestWriting:
    def test_writes_and_leaves_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "m.pth"
        write_atomically(str(path), lambda temporary: torch.save(WEIGHTS, temporary))
        assert_weights(torch.load(path))
        assert list(tmp_path.iterdir()) == [path]

    def test_a_failure_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "m.txt"
        path.write_text("old")

        def fail(temporary: str) -> None:
            Path(temporary).write_text("half")
            raise OSError("no space")

        with pytest.raises(OSError, match=r"cannot write .*m\.txt: no space; \d+ MB are free"):
            write_atomically(str(path), fail)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_an_interrupt_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "m.txt"
        path.write_text("old")

        def interrupt(temporary: str) -> None:
            Path(temporary).write_text("half")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_atomically(str(path), interrupt)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_full_disk(self, tmp_path: Path, small_disk: None) -> None:
        path = tmp_path / "m.pth"
        torch.save(WEIGHTS, path)
        with pytest.raises(OSError, match=f"cannot write {path}: "):
            write_atomically(str(path), lambda file: torch.save(torch.ones(100_000), file))
        assert_weights(torch.load(path))
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", ["file/deep/a.pth", "/proc/deep/a.pth"])
def test_a_file_that_cannot_be_written_is_named(tmp_path, path: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=rf"cannot write .*{path}: .*; choose another place"):
        write_atomically(str(tmp_path / path), lambda temporary: Path(temporary).touch())
    write_atomically(str(tmp_path / "new/deep/a"), lambda temporary: Path(temporary).touch())
    assert [file.name for file in (tmp_path / "new/deep").iterdir()] == ["a"]
