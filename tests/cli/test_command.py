"""The command d2seg: its words, and modules of a user."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

import d2seg
from d2seg.cli import COMMANDS, main
from d2seg.config.imports import import_modules
from d2seg.config.loading import load_config
from d2seg.config.zoo import find_config
from d2seg.data.label_maps import read_id_map
from d2seg.registries import OPTIMIZERS
from families.maskformer_config import small_config

MODULE = """
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

@META_ARCH_REGISTRY.register()
class {name}(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        raise ValueError("my own model was built")
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """The exit code, stdout and stderr of a call."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize("word", ["train", "draw", "predict", "serve", "export"])
def test_programs_that_run_a_model_flush_denormal_numbers(run, tmp_path: Path, word: str) -> None:
    """Before anything else; here no model is there to run."""
    inputs = ["--input", tmp_path / "a.png", "--output", tmp_path / "out"]
    given = {
        "train": ["--config-file", tmp_path / "none.yaml"],
        "draw": ["--config-file", "none", *inputs],
        "predict": ["--config-file", "none", *inputs],
        "serve": ["--weights", tmp_path / "none.pth"],
        "export": ["none", tmp_path / "none.pth", tmp_path / "a.onnx"],
    }[word]
    number = torch.tensor([1e-39])
    assert (number * 0.5).item() > 0
    code, _, _ = run(word, *given)
    assert code == 2
    assert (number * 0.5).item() == 0


def test_without_a_word_all_are_listed(run) -> None:
    for arguments in ((), ("--help",)):
        code, out, _ = run(*arguments)
        assert code == 0
        assert all(f"  {word} " in out for word in COMMANDS)


@pytest.mark.parametrize("word", COMMANDS)
def test_each_word_has_help_in_its_own_name(run, word: str) -> None:
    code, out, _ = run(word, "--help")
    assert code == 0
    assert out.startswith(f"usage: d2seg {word} ")


def test_help_and_version_are_words_too(run) -> None:
    assert run("help") == run("--help")
    assert run("--version") == run("-V") == (0, f"d2seg {d2seg.__version__}\n", "")


@pytest.mark.parametrize("word", [word for word in COMMANDS if word != "zoo"])
def test_each_word_alone_says_in_one_line_what_is_missing(run, word: str) -> None:
    code, _, err = run(word)
    assert code == 2
    assert err.startswith(f"d2seg {word}: error: ")
    assert err.count("\n") == 1


def test_an_option_that_there_is_not(run) -> None:
    for word in COMMANDS:
        code, _, err = run(word, "--halp")
        assert (code, err.count("\n")) == (2, 1)


def test_a_word_that_there_is_not(run) -> None:
    code, _, err = run("tran")
    assert code == 2
    assert err == "d2seg: there is no 'tran'; did you mean 'd2seg train'? See d2seg -h\n"


def test_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "d2seg", "zoo", "--method", "topformer", "--task", "semantic"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "topformer/ade20k_semantic_tiny" in done.stdout


def test_zoo_lists_and_describes(run) -> None:
    code, out, _ = run("zoo", "--method", "mask2former", "--dataset", "mapillary_vistas")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()[2:]] == [
        ["mask2former/mapillary_vistas_panoptic_resnet50", "PQ", "36.3"],
        ["mask2former/mapillary_vistas_panoptic_swin_large", "PQ", "45.5"],
        ["mask2former/mapillary_vistas_semantic_resnet50", "mIoU", "57.4"],
        ["mask2former/mapillary_vistas_semantic_swin_large", "mIoU", "63.2"],
    ]
    code, out, _ = run("zoo", "mask2former/coco_panoptic_resnet50")
    assert code == 0
    assert "model_final_94dc52.pkl" in out
    assert "CC BY-NC 4.0" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "maskformer2"], "error: no method 'maskformer2' in the model zoo; there are"),
        (["mask2former/coco"], "error: there is no config 'mask2former/coco' in the model zoo"),
        (["--fetch"], "error: --fetch needs the NAME of a config"),
        (["segformer/shapes_semantic_small", "--fetch"], "error: no address of weights is known"),
    ],
)
def test_mistakes_at_the_zoo(run, arguments: list[str], message: str) -> None:
    code, _, err = run("zoo", *arguments)
    assert code == 2
    assert err.startswith(message)
    assert err.count("\n") == 1


class TestImport:
    def test_registrations_reach_the_config(
        self, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        name = f"Mine{abs(hash(str(tmp_path)))}"
        Path("my_models.py").write_text(MODULE.format(name=name))
        code, _, err = run(
            *("draw", "--config", "segformer/shapes_semantic_small", "--output", "out"),
            *("--import", "my_models", "--input", self.picture(tmp_path)),
            *("--opts", "MODEL.META_ARCHITECTURE", name, "MODEL.DEVICE", "cpu"),
        )
        assert (code, err) == (2, "d2seg draw: error: my own model was built\n")

    def picture(self, folder: Path) -> Path:
        Image.new("RGB", (8, 8)).save(folder / "a.png")
        return folder / "a.png"

    @pytest.mark.parametrize("word", ["train", "draw", "check"])
    def test_one_that_fails_gives_one_line(
        self, run, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        module = f"fails_in_{word}"
        Path(f"{module}.py").write_text("import math\n\nmath.sqrt(\n    -1)\n")
        arguments = {
            "train": ("--config-file", "segformer/shapes_semantic_small"),
            "draw": ("--config", "x", "--input", self.picture(tmp_path), "--output", "out"),
            "check": ("shapes_sem_seg_val",),
        }[word]
        code, _, err = run(word, "--import", module, *arguments)
        assert code == 2
        line = err.splitlines()[-1]
        assert f"--import {module} fails with ValueError: " in line
        assert f"{module}.py:3)" in line
        assert "Traceback" not in err

    def test_a_module_that_there_is_not(self) -> None:
        with pytest.raises(ValueError, match="--import no_such: there is no module 'no_such' in /"):
            import_modules(["no_such"])

    def test_a_module_that_needs_what_there_is_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        Path("needs_more.py").write_text("import no_such_package\n")
        Path("misspelt.py").write_text("x = (1\n")
        with pytest.raises(
            ValueError, match=r"needs_more fails with ModuleNotFoundError: .*py:1\)"
        ):
            import_modules(["needs_more"])
        with pytest.raises(
            ValueError, match=r"misspelt fails with SyntaxError: .*misspelt\.py:1\)"
        ):
            import_modules(["misspelt"])


@pytest.fixture(scope="module")
def model(repo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config file of a small MaskFormer with random weights."""
    folder = tmp_path_factory.mktemp("maskformer")
    cfg = small_config(repo_dir, "coco_panoptic_resnet50")
    cfg.INPUT.MIN_SIZE_TEST = 64
    cfg.DATASETS.TEST = ("coco_2017_val_panoptic",)  # whose names are those of the classes
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 133
    torch.manual_seed(0)
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model.pth")
    cfg.MODEL.WEIGHTS = str(folder / "model.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder / "config.yaml"


class TestPredict:
    def call(self, run, model: Path, folder: Path, task: str) -> tuple[int, list[dict]]:
        rng = np.random.default_rng(0)
        (folder / "in").mkdir()
        Image.fromarray(rng.integers(0, 255, (60, 90, 3), np.uint8)).save(folder / "in/a.png")
        (folder / "in/b.jpg").write_bytes(b"no picture")
        code, out, _ = run(
            *("predict", "--config", model, "--input", folder / "in", "--output", folder / "out"),
            *("--task", task, "--confidence-threshold", "0"),
        )
        assert "1 predicted into" in out
        assert "b.jpg: cannot be read" in out
        return code, json.loads((folder / "out/predictions.json").read_text())

    def test_panoptic(self, run, model: Path, tmp_path: Path) -> None:
        code, [entry] = self.call(run, model, tmp_path, "panoptic")
        assert code == 1
        assert entry["image"] == str(tmp_path / "in/a.png")
        ids = read_id_map(str(tmp_path / "out" / entry["file_name"]))
        assert ids.shape == (60, 90)
        assert {s["id"] for s in entry["segments_info"]} == set(np.unique(ids)) - {0}
        assert all(s["category"] and "score" in s for s in entry["segments_info"])

    def test_semantic(self, run, model: Path, tmp_path: Path) -> None:
        _, [entry] = self.call(run, model, tmp_path, "semantic")
        labels = np.asarray(Image.open(tmp_path / "out" / entry["file_name"]))
        assert labels.shape == (60, 90)
        assert labels.dtype == np.uint8

    def test_instance(self, run, model: Path, tmp_path: Path) -> None:
        _, [entry] = self.call(run, model, tmp_path, "instance")
        assert entry["instances"]
        for instance in entry["instances"]:
            x, y, width, height = instance["bbox"]
            mask = mask_util.decode(instance["segmentation"])
            assert mask.shape == (60, 90)
            if mask.any():
                rows, columns = np.nonzero(mask)
                assert (x, y) == (columns.min(), rows.min())
                assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
            assert 0 <= instance["score"] <= 1
            assert instance["category"]

    def test_what_predict_does_not_take(self, run, model: Path, tmp_path: Path) -> None:
        (tmp_path / "a.mp4").write_bytes(b"")
        for arguments, message in (
            (("--webcam", "--output", tmp_path / "out"), "d2seg draw takes a camera"),
            (("--input", tmp_path / "a.mp4", "--output", tmp_path / "out"), "is a video; d2seg"),
            (("--input", tmp_path / "a.mp4"), "give --input and --output"),
        ):
            code, _, err = run("predict", "--config", model, *arguments)
            assert code == 2
            assert message in err
            assert err.count("\n") == 1


class TestDocument:
    @pytest.fixture
    def text(self, repo_dir: Path) -> str:
        return (repo_dir / "docs/command.md").read_text()

    def test_every_word_and_config_exists(self, text: str) -> None:
        assert all(f"| `d2seg {word}` |" in text for word in COMMANDS)
        (block,) = re.findall(r"```bash\n(.*?)```", text, re.S)
        lines = [shlex.split(line) for line in block.splitlines()]
        assert len(lines) >= 5
        for program, word, *arguments in lines:
            assert program == "d2seg"
            assert word in COMMANDS
            names = [name for name in arguments if name.startswith(("mask2former/", "segformer/"))]
            assert all(map(find_config, names))

    def test_the_module_of_ones_own_works(
        self, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (block,) = re.findall(r"```python\n(.*?)```", text, re.S)
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(OPTIMIZERS, "_obj_map", {})
        monkeypatch.delitem(sys.modules, "my_module", raising=False)
        Path("my_module.py").write_text(block)
        import_modules(["my_module"])
        parameters = [{"params": [torch.nn.Parameter(torch.ones(1))]}]
        optimizer = OPTIMIZERS.get("Adagrad")(load_config(None), parameters)
        assert type(optimizer) is torch.optim.Adagrad
        monkeypatch.delitem(sys.modules, "my_module")
