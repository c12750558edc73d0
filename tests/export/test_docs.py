"""The command of docs/export.md, and its program, where torch cannot be imported."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import d2seg
from d2seg.cli import main
from d2seg.cli.export import make_parser
from d2seg.config.description import describe
from families.exports import CASES, small_model

PICTURE = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
BLOCKED = "import sys; sys.modules.update(dict.fromkeys(('torch', 'detectron2', 'd2seg')))\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, repo_dir: Path) -> Path:
    """A config and a checkpoint of SegFormer; street.png."""
    folder = tmp_path_factory.mktemp("sample")
    cfg = CASES["segformer"].config(repo_dir)
    cfg.INPUT.MIN_SIZE_TEST = 64
    state = small_model(cfg).state_dict()
    torch.save({"model": state, "d2seg": describe(cfg)}, folder / "model.pth")
    (folder / "own.yaml").write_text(cfg.dump())
    Image.fromarray(PICTURE).save(folder / "street.png")
    return folder


def run_export(folder: Path, out: str, *arguments: str) -> int:
    return main(["export", *(str(folder / n) for n in ("own.yaml", "model.pth", out)), *arguments])


def test_the_program_without_torch(
    folder: Path, repo_dir: Path, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    assert run_export(folder, "model.onnx", "--size", "64", "96", "--postprocess") == 0
    assert "at 64 x 96 within" in capsys.readouterr().out
    text = (repo_dir / "docs" / "export.md").read_text()
    [program] = re.findall(r'^```python\n("""python label\.py.*?)^```$', text, re.M | re.S)
    assert len([line for line in program.splitlines() if line.strip()]) <= 60
    (folder / "label.py").write_text(BLOCKED + f"sys.path += {sys.path}\n" + program)
    done = subprocess.run(
        [sys.executable, "-I", "label.py", "model.onnx", "street.png", "labels.png"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    painted = np.asarray(Image.open(folder / "labels.png"))
    assert painted.shape == PICTURE.shape
    names = d2seg.load(folder / "model.pth", device="cpu").metadata.stuff_classes
    assert set(done.stdout.split("\n")[:-1]) <= set(names)
    assert len(np.unique(painted.reshape(-1, 3), axis=0)) == len(done.stdout.split("\n")) - 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["m.onnx", "--format", "torch_export"], "a file of --format torch_export ends in .pt2"),
        (["m.pt2", "--format", "torch_export", "--size", "65", "96"], "takes multiples of 32"),
        (
            ["m.pt2", "--format", "torch_export", "--dtype", "int8"],
            "--dtype int8 is not for --format torch_export",
        ),
        (["m.pt2", "--format", "torch_export", "--check", "absent"], "there is no such data set"),
        (
            ["m.pt2", "--format", "torch_export", "--postprocess", "panoptic"],
            "--postprocess panoptic: the model offers semantic",
        ),
        (["m.pt2", "--format", "torch_export", "NO.KEY", "1"], "NO.KEY"),
    ],
)
def test_mistakes_in_the_call_are_one_line(
    folder: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    assert run_export(folder, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(folder.glob("m.*"))


def test_a_file_that_differs_is_exit_code_1(
    folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2seg.export.verification._difference", lambda *_: 1e-3)
    arguments = ("--format", "torch_export", "--size", "32", "32")
    assert run_export(folder, "wrong.pt2", *arguments) == 1
    assert "the file is deleted" in capsys.readouterr().err
    assert not (folder / "wrong.pt2").exists()


def test_every_argument_is_on_the_page(repo_dir: Path) -> None:
    text = (repo_dir / "docs" / "export.md").read_text()
    options = {name for action in make_parser()._actions for name in action.option_strings}
    for name in options - {"-h", "--help", "--import"}:
        assert f"`{name}" in text, name
