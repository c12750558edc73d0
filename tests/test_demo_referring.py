"""demo.py with expressions, from the command line to the files it writes."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from PIL import Image

from d2seg.visualization.segments import palette_color
from families.color_listener import SIZE, color_config, color_picture

SEMANTIC_FPN = "Misc/semantic_R_50_FPN_1x.yaml"


@pytest.fixture(scope="module")
def demo(repo_dir: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("d2seg_demo", repo_dir / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(demo: ModuleType, capfd: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """The exit code, stdout and stderr of a call."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = demo.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        return code, *capfd.readouterr()

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config, its weights, a picture and a video of three frames of it."""
    folder = tmp_path_factory.mktemp("referring")
    (folder / "config.yaml").write_text(color_config(folder).dump())
    size = 4 * SIZE[1], 4 * SIZE[0]
    writer = cv2.VideoWriter(str(folder / "colors.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, size)
    for _ in range(3):
        writer.write(cv2.resize(color_picture()[..., ::-1], size, interpolation=cv2.INTER_NEAREST))
    writer.release()
    return folder


@pytest.fixture
def call(folder: Path, tmp_path: Path) -> list[object]:
    """What a call that draws the picture begins with."""
    config = ["--config-file", folder / "config.yaml"]
    return [*config, "--input", folder / "colors.png", "--output", tmp_path / "out"]


def overlay(name: str, number: int) -> np.ndarray:
    """Half the picture's colour, half that of the expression."""
    pixel = np.array({"red": (200, 0, 0), "green": (0, 200, 0)}[name])
    return (pixel + 255 * np.array(palette_color(number))) / 2


def test_every_expression_is_drawn_in_its_colour(run, call, tmp_path):
    code, out, error = run(*call, "--expression", "the green one", "--expression", "the red one")
    assert code == 0, error
    assert out.splitlines()[-1].startswith("1 drawn into")
    assert "nothing found" not in error
    drawn = np.asarray(Image.open(tmp_path / "out" / "colors.png"))
    assert drawn.shape == (4 * SIZE[0], 4 * SIZE[1], 3)
    assert drawn[20, 60] == pytest.approx(overlay("red", 1), abs=3)
    assert drawn[20, 180] == pytest.approx(overlay("green", 0), abs=3)
    assert (drawn[20, 260:] == 0).all()


def test_what_is_not_found_is_said_and_written_into_the_picture(run, call, tmp_path):
    code, _, error = run(*call, "--task", "referring", "--expression", "the blue one")
    assert code == 0
    assert 'colors.png: nothing found for "the blue one"' in error
    drawn = np.asarray(Image.open(tmp_path / "out" / "colors.png"))
    original = np.asarray(Image.fromarray(color_picture()).resize(drawn.shape[1::-1], 0))
    rows = np.flatnonzero((drawn != original).any((1, 2)))
    assert rows.size > 10
    assert rows.min() > 0.8 * len(drawn)  # the note in the corner


def test_a_threshold_makes_an_expression_not_found(run, call):
    for threshold, told in (("0.8", False), ("0.95", True)):
        _, _, error = run(*call, "--expression", "red", "--confidence-threshold", threshold)
        assert ('nothing found for "red"' in error) == told


def test_a_video_keeps_the_colours_and_says_once_what_no_frame_has(run, folder, tmp_path):
    code, _, error = run(
        *("--config-file", folder / "config.yaml", "--input", folder / "colors.mp4"),
        *("--output", tmp_path, "--expression", "blue", "--expression", "red"),
    )
    assert code == 0
    assert error.count('nothing found for "blue" in any frame') == 1
    assert 'nothing found for "red"' not in error
    capture = cv2.VideoCapture(str(tmp_path / "colors.mp4"))
    for _ in range(3):
        is_good, frame = capture.read()
        assert is_good
        found = frame[10:50, 20:100, ::-1].mean((0, 1))  # no label is up there
        assert found == pytest.approx(overlay("red", 1), abs=20)  # the video loses some


def refused(run: Callable, *arguments: object) -> str:
    """The message of a call that is refused, the only line on stderr."""
    code, _, error = run(*arguments)
    assert code == 2
    (line,) = error.splitlines()
    return line


def test_mistakes_end_in_one_line_before_anything_is_drawn(run, call, folder, tmp_path):
    message = refused(run, *call, "--task", "referring")
    assert "needs an expression" in message
    assert '--expression "the dog on the left"' in message
    assert "needs an expression" in refused(run, *call)  # the model's only task
    assert "the expression ' ' is empty" in refused(run, *call, "--expression", " ")
    assert "no word of 'ein Hund' is known" in refused(run, *call, "--expression", "ein Hund")
    other = ["--config-file", SEMANTIC_FPN, "--input", folder / "colors.png", "--expression", "red"]
    for task in ([], ["--task", "semantic"], ["--task", "referring"]):
        message = refused(run, *other, "--output", tmp_path / "out", *task)
        assert "--expression is for the task referring" in message
        assert message.endswith("offers semantic")
    message = refused(run, *other[:-2], "--task", "referring", "--output", tmp_path / "out")
    assert message.endswith("offers semantic, not referring")
    tasks = ["TEST.TASKS", "['semantic','referring']", "--task", "semantic"]
    message = refused(run, *call, *tasks, "--expression", "red")
    assert "the task semantic takes none" in message
    assert not (tmp_path / "out").exists()
