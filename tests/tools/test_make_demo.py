"""tools/make_demo.py: what it runs and prints; the commands themselves are replaced."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from d2seg.names import printable

CONFIG = "configs/mask2former/shapes_panoptic_small.yaml"
RESULTS = {
    "panoptic_seg": {"PQ": 61.25, "SQ": 1.0},
    "sem_seg": {"mIoU": 72.5},
    "segm": {"AP": 43.75},
    "bbox": {"AP": 2.0},
}


class Commands:
    """In place of subprocess.run: notes the commands and leaves the files that they would."""

    def __init__(self, project: Path) -> None:
        self._output = project / "output" / "demo"
        self.called: list[list[str]] = []
        self.codes = {"train_net.py": 0, "demo.py": 0}
        self.found: list[bool] = []  # for each training, whether there was a checkpoint

    def __call__(self, command: list[str], cwd: Path, check: bool) -> SimpleNamespace:
        assert cwd == self._output.parents[1]
        assert not check
        assert command[0] == sys.executable
        self.called.append(command[1:])
        code = self.codes[command[1]]
        if command[1] == "train_net.py":
            self._train(code)
        elif code == 0:
            (self._output / "pictures").mkdir(exist_ok=True)
            (self._output / "pictures" / "one.png").touch()
        return SimpleNamespace(returncode=code)

    def _train(self, code: int) -> None:
        checkpoint = self._output / "last_checkpoint"
        self.found.append(checkpoint.exists())
        self._output.mkdir(parents=True, exist_ok=True)
        checkpoint.touch()
        if code == 0:
            (self._output / "results.json").write_text(json.dumps(RESULTS))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with the config alone."""
    (tmp_path / CONFIG).parent.mkdir(parents=True)
    (tmp_path / CONFIG).write_text("MODEL: {DEVICE: cpu}\n")
    return tmp_path


@pytest.fixture
def make_demo(
    load_tool: Callable[[str], ModuleType], project: Path, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    module = load_tool("make_demo")
    assert Path(CONFIG) == module.CONFIG
    monkeypatch.setattr(module, "REPO", project)
    monkeypatch.setattr(module, "ensure_shapes", lambda folder: None)
    monkeypatch.setattr(module, "NUM_IMAGES", {"train": 7, "val": 14})
    monkeypatch.setenv("DETECTRON2_DATASETS", str(project / "datasets"))
    images = project / "datasets" / "shapes" / "images_val"
    images.mkdir(parents=True)
    for number in range(14):
        (images / f"{number:02}.jpg").touch()
    monkeypatch.setattr(sys, "argv", ["make_demo.py"])
    return module


@pytest.fixture
def commands(make_demo: ModuleType, project: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands = Commands(project)
    monkeypatch.setattr(make_demo, "subprocess", SimpleNamespace(run=commands))
    return commands


def test_it_trains_and_then_draws(
    make_demo: ModuleType, commands: Commands, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["make_demo.py", "--device", "cuda:1"])
    make_demo.main()
    images = project / "datasets" / "shapes" / "images_val"
    device = ["MODEL.DEVICE", "cuda:1"]
    assert commands.called == [
        [
            *("train_net.py", "--config-file", CONFIG, "--resume"),
            *(*device, "OUTPUT_DIR", "output/demo"),
        ],
        [
            *("demo.py", "--config-file", CONFIG),
            *("--input", *(str(images / f"{number:02}.jpg") for number in range(12))),
            *("--output", "output/demo/pictures"),
            *("--opts", "MODEL.WEIGHTS", "output/demo/model_final.pth", *device),
        ],
    ]


@pytest.mark.parametrize("device", ["cpu", "odd\n\x1b[31m"])
def test_scores_are_those_of_the_results_file(
    make_demo: ModuleType,
    commands: Commands,
    project: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
) -> None:
    """Names with line ends and escape codes are shown in one line."""
    monkeypatch.setattr(sys, "argv", ["make_demo.py", "--device", device])
    pictures = project / "output/demo/pictures"
    pictures.mkdir(parents=True)
    (pictures / f"{device}.png").touch()
    (project / "datasets/shapes/images_val" / f"00{device}.jpg").touch()
    make_demo.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(
        f"$ python train_net.py --config-file {CONFIG} --resume MODEL.DEVICE"
    )
    (at,) = [i for i, line in enumerate(lines) if line.endswith("On 14 held-out images:")]
    assert [line.split() for line in lines[at + 1 :]] == [
        ["panoptic", "quality", "(PQ)", "61.2"],
        ["semantic", "mIoU", "72.5"],
        ["instance", "mask", "AP", "43.8"],
        ["Pictures:"],
        *sorted([f"output/demo/pictures/{name}.png"] for name in (printable(device), "one")),
    ]


@pytest.mark.parametrize(("script", "num_called"), [("train_net.py", 1), ("demo.py", 2)])
def test_a_failing_command_ends_it_with_its_exit_code(
    make_demo: ModuleType,
    commands: Commands,
    capsys: pytest.CaptureFixture,
    script: str,
    num_called: int,
) -> None:
    commands.codes[script] = 130
    with pytest.raises(SystemExit) as end:
        make_demo.main()
    assert end.value.code == 130
    assert len(commands.called) == num_called
    assert "held-out" not in capsys.readouterr().out


def test_a_run_goes_on_unless_the_config_has_changed(
    make_demo: ModuleType, commands: Commands, project: Path, capsys: pytest.CaptureFixture
) -> None:
    commands.codes["train_net.py"] = 143
    for _ in range(2):  # interrupted, resumed and interrupted again
        with pytest.raises(SystemExit):
            make_demo.main()
    commands.codes["train_net.py"] = 0
    make_demo.main()
    assert commands.found == [False, True, True]
    assert "starting anew" not in capsys.readouterr().out

    (project / CONFIG).write_text("MODEL: {DEVICE: cpu, FPN: {OUT_CHANNELS: 17}}\n")
    make_demo.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{CONFIG} has changed since the run in output/demo; starting anew"
    make_demo.main()
    assert commands.found[3:] == [False, True]
    assert "starting anew" not in capsys.readouterr().out


def test_a_run_of_other_origin_is_left_alone(
    make_demo: ModuleType, commands: Commands, project: Path
) -> None:
    output = project / "output" / "demo"
    output.mkdir(parents=True)
    (output / "last_checkpoint").touch()
    for _ in range(2):
        make_demo.main()
    assert commands.found == [True, True]
    assert not (output / "demo_config.yaml").exists()
