"""An exported file in the place of a checkpoint: in the commands that take MODEL.WEIGHTS."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d2seg.cli import main
from d2seg.config.description import describe
from d2seg.prediction.batch import BatchPredictor
from d2seg.prediction.exported import config_of_exported
from d2seg.runtimes import open_session
from d2seg.runtimes.session import FASTER
from families.exports import CASES, small_model

SIDE, NUM_PICTURES = 64, 3
DECLARATION = """
name: exported_halves
task: semantic
classes: [left, right, neither, none, other]
splits:
  val: {images: images, labels: labels}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, repo_dir: Path) -> Path:
    """A data set, a SegFormer with random weights in model.pth, and model.onnx, exported from it by
    the command, whose output is in export.txt."""
    for package in ("onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("in_use")
    generator = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for number in range(NUM_PICTURES):
        pixels = generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        labels = generator.integers(0, 5, (SIDE // 16, SIDE // 16), np.uint8)
        labels = labels.repeat(16, 0).repeat(16, 1)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        Image.fromarray(labels).save(folder / "labels" / f"{number}.png")
    (folder / "halves.yaml").write_text(DECLARATION)
    cfg = CASES["segformer"].config(repo_dir)
    cfg.INPUT.MIN_SIZE_TEST = SIDE
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ("exported_halves_val",)
    cfg.DATASETS.DECLARATIONS = [str(folder / "halves.yaml")]
    model = small_model(cfg)
    torch.save({"model": model.state_dict(), "d2seg": describe(cfg)}, folder / "model.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    output = io.StringIO()
    paths = (str(folder / name) for name in ("config.yaml", "model.pth", "model.onnx"))
    with contextlib.redirect_stdout(output):
        code = main(["export", *paths, "--size", "64", "64", "--check", "exported_halves_val"])
    assert code == 0
    (folder / "export.txt").write_text(output.getvalue())
    return folder


def run(word: str, folder: Path, weights: str, *arguments: object) -> None:
    flag = "--config-file" if word in ("draw", "eval") else "--config"
    pairs = ("MODEL.WEIGHTS", folder / weights, "TEST.RUNTIME", "auto")
    call = [word, flag, folder / "config.yaml", *arguments, *pairs]
    assert main([str(item) for item in call]) == 0


def written(folder: Path, word: str, out: Path, *arguments: object) -> list[np.ndarray]:
    """The pictures that a command writes with the checkpoint and with the file, side by side."""
    found = []
    for weights in ("model.pth", "model.onnx"):
        target = out / weights
        run(word, folder, weights, *arguments, "--output", target, "--opts")
        files = sorted(target.rglob("*.png"))
        assert len(files) == NUM_PICTURES
        found.append(np.stack([np.asarray(Image.open(file)) for file in files]))
    return found


@pytest.mark.parametrize("word", ["draw", "predict"])
def test_pictures(folder: Path, tmp_path: Path, word: str) -> None:
    theirs, ours = written(folder, word, tmp_path, "--input", folder / "images")
    assert np.abs(theirs.astype(int) - ours).max(axis=0).shape == theirs.shape[1:]
    assert (theirs == ours).mean() > 0.999


def test_folders(folder: Path, tmp_path: Path) -> None:
    arguments = ("--input", folder / "images", "--format", "masks")
    theirs, ours = written(folder, "predict", tmp_path, *arguments)
    assert len(np.unique(theirs)) > 1
    assert (theirs == ours).mean() > 0.999


def test_pictures_at_a_time_are_those_of_a_processor(folder: Path) -> None:
    """Its parameters, on no device, said nothing of that."""
    session = open_session(folder / "model.onnx")
    cfg = config_of_exported(session, "model.onnx")
    cfg.MODEL.WEIGHTS = str(folder / "model.onnx")
    assert BatchPredictor(cfg, "semantic")._device_type() == "cpu"


def test_auto_takes_what_was_faster_for_the_method(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    path = folder / "model.onnx"
    assert open_session(path).runtime == "openvino"
    monkeypatch.setitem(FASTER, "SegFormer", "onnxruntime")
    assert open_session(path).runtime == "onnxruntime"
    assert open_session(path, "openvino").runtime == "openvino"
    monkeypatch.setattr("d2seg.runtimes.session.find_spec", lambda name: name == "openvino")
    assert open_session(path).runtime == "openvino"


def test_evaluation(folder: Path, tmp_path: Path) -> None:
    scores = []
    for weights in ("model.pth", "model.onnx"):
        run("eval", folder, weights, "OUTPUT_DIR", tmp_path / weights)
        scores.append(json.loads((tmp_path / weights / "results.json").read_text())["sem_seg"])
    assert scores[0]["mIoU"] > 0
    assert scores[1]["mIoU"] == pytest.approx(scores[0]["mIoU"], abs=0.1)
    assert scores[1]["pACC"] == pytest.approx(scores[0]["pACC"], abs=0.1)


def test_scores_of_both_are_said(folder: Path) -> None:
    """--check, on the data set."""
    lines = (folder / "export.txt").read_text().splitlines()
    [row] = [line.split() for line in lines if line.startswith("sem_seg/mIoU")]
    assert float(row[1]) > 0
    assert abs(float(row[3])) < 0.1


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (("TEST.DTYPE", "bf16"), "model.onnx was exported in fp32, which it keeps"),
        (("TEST.TILES.ENABLED", "True"), "takes pictures of 64 x 64 (height x width) alone"),
        (("TEST.AUG.ENABLED", "True"), "takes pictures of 64 x 64 (height x width) alone"),
        (("TEST.RUNTIME", "torch"), "is run by openvino or onnxruntime"),
        (("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "7"), "NUM_CLASSES"),
    ],
)
def test_what_a_file_cannot_do_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, pairs: tuple, message: str
) -> None:
    call = ["predict", "--config", folder / "config.yaml", "--input", folder / "images"]
    call += ["--output", tmp_path, "--format", "masks", "--weights", folder / "model.onnx"]
    with contextlib.suppress(SystemExit):
        assert main([str(item) for item in [*call, "--opts", *pairs]]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "call", [("export", "config.yaml", "model.onnx", "again.onnx"), ("train", "config.yaml")]
)
def test_a_file_is_no_checkpoint(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture, call: tuple
) -> None:
    if call[0] == "export":
        arguments = [str(folder / name) for name in call[1:]]
    else:
        pairs = ("DATASETS.TRAIN", "('exported_halves_val',)", "SOLVER.MAX_ITER", "1")
        pairs += ("MODEL.WEIGHTS", str(folder / "model.onnx"), "OUTPUT_DIR", str(tmp_path / "o"))
        arguments = ["--config-file", str(folder / call[1]), *pairs]
    with contextlib.suppress(SystemExit):
        assert main([call[0], *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert "model.onnx is an exported model, which can be run" in error[-1]
