"""The notebooks of docs/tutorials, run from top to bottom as a reader does, for fewer steps."""

import os
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from d2seg.config.loading import load_config
from families.programs import run_program

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

RUNNER = Path(__file__).parent / "families" / "notebook.py"
SMALL = "segformer/shapes_semantic_small"


def run(notebook: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """What its cells write, in order; pictures not included."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    book = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    return "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs
    )


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return opened.getsockname()[1]


def run_in_a_fork(
    notebook: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, **environment: str
) -> str:
    """As :func:`run`, without the time in which a kernel and each program import everything."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("IPYTHONDIR", str(folder / ".ipython"))
    done = run_program(RUNNER, [notebook], folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    "run_notebook", [run_in_a_fork, pytest.param(run, marks=pytest.mark.extended)]
)
def test_own_data(
    repo_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_notebook: Callable[..., str],
) -> None:
    notebook = repo_dir / "docs/tutorials/own_data.ipynb"
    said = run_notebook(notebook, tmp_path, monkeypatch, D2SEG_TUTORIAL_ITERATIONS="2")
    assert said.count("value 9") == 1  # the planted mistake, and no other
    assert said.count("no problems") == 3  # of two splits, twice
    assert "'mIoU': " in said
    assert "'coin': " in said
    assert (tmp_path / "drawn.png").is_file()


@pytest.mark.extended
@pytest.mark.usefixtures("few_shapes")
def test_published_checkpoint(
    repo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights of our own for a config of which nothing is published."""
    torch.manual_seed(0)
    state = build_model(load_config(SMALL, ["MODEL.DEVICE", "cpu"])).state_dict()
    torch.save({"model": state}, tmp_path / "weights.pth")
    said = run(
        repo_dir / "docs/tutorials/published_checkpoint.ipynb",
        tmp_path,
        monkeypatch,
        D2SEG_TUTORIAL_MODEL=SMALL,
        D2SEG_TUTORIAL_WEIGHTS=str(tmp_path / "weights.pth"),
        D2SEG_TUTORIAL_DEVICE="cpu",
    )
    assert "mIoU" in said
    assert "nothing is published for this config" in said
    assert (tmp_path / "published.png").is_file()


@pytest.mark.extended
@pytest.mark.usefixtures("few_shapes")
def test_export_and_serve(
    repo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    for package in ("onnxscript", "onnxruntime", "fastapi"):
        pytest.importorskip(package)
    said = run(
        repo_dir / "docs/tutorials/export_and_serve.ipynb",
        tmp_path,
        monkeypatch,
        D2SEG_TUTORIAL_ITERATIONS="2",
        D2SEG_TUTORIAL_PORT=str(unused_port),
    )
    assert '"SegFormer"' in said
    share = float(re.search(r"([\d.]+)% of the pixels have the same label", said)[1])
    assert share > 99.9
    assert re.search(r"\{'\w+': \d+", said.split("http://127.0.0.1")[-1])  # the server's answer
