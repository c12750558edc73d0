"""Damage on the disk is noticed when a checkpoint is read, and resuming falls back."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from d2seg.checkpoint import Checkpointer
from d2seg.checkpoint.checksums import crc32, sha256_of, side_file
from d2seg.checkpoint.files import CheckpointFileError, read_checkpoint, write_with_checksum
from faults.damaged_files import flipped_bits, zeroed_blocks


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """As a run saves it: weights and the state of an optimizer, 160 kB."""
    model = nn.Sequential(nn.Linear(100, 60), nn.BatchNorm1d(60), nn.Linear(60, 100))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(4, 100)).sum().backward()
    optimizer.step()
    path = tmp_path_factory.mktemp("good") / "model.pth"
    torch.save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "iteration": 3}, path
    )
    return path.read_bytes()


@pytest.mark.parametrize("damage", [flipped_bits, zeroed_blocks])
def test_no_damage_reaches_a_value(tmp_path: Path, content: bytes, damage: Callable) -> None:
    """What is loaded without a word is, to the last bit, what was saved: the bit was one of the
    zeros between the records, or of their times."""
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    good, refused, tried = read_checkpoint(str(path)), 0, 0
    for damaged in damage(content, 100):
        path.write_bytes(damaged)
        tried += 1
        try:
            assert same(read_checkpoint(str(path)), good)
        except CheckpointFileError:
            refused += 1
    assert refused > 0.8 * tried > 20


def test_the_record_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pth"
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(CheckpointFileError, match=r"model/data/\d+ is damaged: its checksum"):
        read_checkpoint(str(path))


def test_resuming_falls_back_to_the_last_good_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Linear(100, 100)
    checkpointer = Checkpointer(model, str(tmp_path))
    for iteration in (1, 2):
        checkpointer.save(f"model_{iteration}", iteration=iteration)
        os.utime(tmp_path / f"model_{iteration}.pth", (iteration, iteration))
    path = tmp_path / "model_2.pth"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert checkpointer.resume_or_load("", resume=True)["iteration"] == 1
    assert "model_2.pth" in caplog.text
    assert "damaged" in caplog.text


def test_files_without_checksums_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.arange(5.0)}, tmp_path / "m.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    with caplog.at_level(logging.INFO):
        loaded = read_checkpoint(str(tmp_path / "m.pth"))
    assert torch.equal(loaded["model"]["w"], torch.arange(5.0))
    assert "no checksums" in caplog.text


@pytest.mark.parametrize("ending", ["safetensors", "pkl"])
def test_a_checksum_beside_the_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"m.{ending}"
    weights = {"w": torch.arange(500.0)}
    write_with_checksum(
        str(path),
        lambda file: save_file(weights, file) if ending != "pkl" else torch.save(weights, file),
    )
    assert side_file(path).read_text() == f"{sha256_of(path)}  m.{ending}\n"
    assert torch.equal(read_checkpoint(str(path))["model"]["w"], weights["w"])
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointFileError, match=r"its SHA-256 is not that of m\..*\.sha256"):
        read_checkpoint(str(path))
    side_file(path).write_text("none\n")
    with pytest.raises(CheckpointFileError, match="holds no SHA-256; remove it"):
        read_checkpoint(str(path))


def test_the_checksum_is_that_of_zip() -> None:
    assert crc32(b"123456789") == 0xCBF43926  # the check value of CRC-32
