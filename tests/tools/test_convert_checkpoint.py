"""The conversion tool, from and to every layout that can be written."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from detectron2.modeling import build_model
from safetensors.torch import load_file
from torch import Tensor

from families.maskformer_config import small_config
from families.programs import run_program


@pytest.fixture(scope="module")
def tool(load_tool: Callable[[str], ModuleType]) -> ModuleType:
    return load_tool("convert_checkpoint")


@pytest.fixture(scope="module")
def weights(repo_dir: Path) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = build_model(small_config(repo_dir)).state_dict()
    return {n: torch.randn_like(t) if t.is_floating_point() else t for n, t in state.items()}


@pytest.fixture
def checkpoint(weights: dict[str, Tensor], tmp_path: Path) -> Path:
    torch.save({"model": weights, "optimizer": {"state": {}}}, tmp_path / "model.pth")
    return tmp_path / "model.pth"


def assert_same(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert set(actual) == set(expected)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".safetensors"])
@pytest.mark.parametrize("flavour", ["official", "huggingface"])
def test_there_and_back(
    tool: ModuleType,
    checkpoint: Path,
    weights: dict[str, Tensor],
    tmp_path: Path,
    flavour: str,
    suffix: str,
) -> None:
    theirs, ours = tmp_path / f"theirs{suffix}", tmp_path / "new" / "ours.safetensors"
    tool.main([str(checkpoint), str(theirs), "--to", flavour])
    tool.main([str(theirs), str(ours)])
    assert_same(load_file(ours), weights)


@pytest.mark.parametrize(("suffix", "wrapped"), [(".pth", True), (".pt", True), (".bin", False)])
def test_form_of_the_file(
    tool: ModuleType, checkpoint: Path, tmp_path: Path, suffix: str, wrapped: bool
) -> None:
    target = tmp_path / f"theirs{suffix}"
    tool.main([str(checkpoint), str(target), "--to", "official"])
    content = torch.load(target)
    if wrapped:
        assert list(content) == ["model"]
        content = content["model"]
    assert "sem_seg_head.predictor.query_embed.weight" in content


def test_prints_counts_and_layouts(
    tool: ModuleType, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    theirs = tmp_path / "theirs.pth"
    tool.main([str(checkpoint), str(theirs), "--to", "official"])
    capsys.readouterr()
    tool.main([str(theirs), str(tmp_path / "ours.pth")])
    first, second = capsys.readouterr().out.splitlines()
    content = torch.load(theirs)["model"]
    values = sum(tensor.numel() for tensor in content.values()) / 1e6
    assert first == f"{theirs}: {len(content)} tensors, official MaskFormer"
    assert second == (
        f"{tmp_path}/ours.pth: {len(content)} tensors, {values:.1f} million values, d2seg"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.pth", "out"], "give it one of the endings .pth, .pt, .bin, .safetensors"),
        (["model.pth", "model.pth"], "OUT is the same file as IN"),
        (["modell.pth", "out.pth"], "near it: model.pth"),
        (["other.pth", "out.pth", "--to", "official"], "no 'official' layout holds this model"),
        (["damaged.pth", "out.pth"], "damaged.pth is truncated or not a checkpoint"),
    ],
)
def test_mistakes_end_in_one_line(
    tool: ModuleType,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    arguments: list[str],
    message: str,
) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pth")
    (tmp_path / "damaged.pth").write_bytes(b"PK\x03\x04")
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert tool.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_as_a_command(repo_dir: Path, checkpoint: Path, tmp_path: Path) -> None:
    script = repo_dir / "tools" / "convert_checkpoint.py"
    target = tmp_path / "official.pth"
    done = run_program(script, [checkpoint, target, "--to", "official"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{checkpoint}: ")
    assert target.is_file()
