"""README commands are tested as written, and the links of README.md and docs/."""

import argparse
import importlib
import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from detectron2 import model_zoo
from PIL import Image

from d2seg.config.files import find_file
from d2seg.config.loading import load_config
from families.few_shapes import make_few_shapes
from families.programs import run_program

REPO = Path(__file__).resolve().parents[1]
MADE_BY_COMMANDS = ("datasets/shapes/", "output/")
TEXTS = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]


def read_commands() -> list[str]:
    """The commands in the bash blocks of README.md, those over several lines in one."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", (REPO / "README.md").read_text(), re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line.strip()]


COMMANDS = read_commands()
WORDS = [command for command in COMMANDS if command.startswith("d2seg ")]
SCRIPT_CALLS = [command for command in COMMANDS if command.startswith("python ")]
MAKE_CALLS = [
    *(command for command in COMMANDS if command.startswith("make ")),
    *re.findall(r"`(make [^`]+)`", (REPO / "README.md").read_text()),
]


class Parsed(Exception):
    """Carries what a script's parser made of the command line."""


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """Start a script and leave it as soon as it has parsed its arguments."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(parser: argparse.ArgumentParser, *arguments: object) -> None:
        raise Parsed(original(parser, *arguments))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(Parsed) as parsed:
        runpy.run_path(words[0], run_name="__main__")
    return parsed.value.args[0]


def is_in_zoo(name: str) -> bool:
    try:
        return Path(model_zoo.get_config_file(name)).is_file()
    except RuntimeError:
        return False


def find_command(*words: str, without: str = "") -> str:
    """The only command of README.md with all these words and not that one."""
    commands = [(command, command.split()) for command in COMMANDS]
    (found,) = [c for c, have in commands if set(words) <= set(have) and without not in have]
    return found


def test_every_command_is_checked_here() -> None:
    assert len(SCRIPT_CALLS) >= 5
    assert {"make demo", "make test"} <= set(MAKE_CALLS)
    assert all(command in SCRIPT_CALLS + MAKE_CALLS + WORDS for command in COMMANDS)
    scripts = {command.split()[1] for command in SCRIPT_CALLS}
    assert {"train_net.py", "demo.py"} <= scripts


@pytest.mark.parametrize("command", sorted(set(MAKE_CALLS)))
def test_make_knows_the_target(command: str) -> None:
    words = shlex.split(command)
    done = subprocess.run(
        [words[0], "--dry-run", *words[1:]], cwd=REPO, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for setting in (word for word in words if "=" in word):
        assert setting.partition("=")[2] in done.stdout


@pytest.mark.parametrize("command", WORDS)
def test_word_and_zoo_accept_the_command(command: str) -> None:
    _, word, *rest = shlex.split(command)
    parser = importlib.import_module(f"d2seg.cli.{word}").make_parser()
    given = parser.parse_intermixed_args(rest)
    if hasattr(given, "config"):
        assert find_file(given.config)[1] == "d2seg"


@pytest.mark.parametrize("command", SCRIPT_CALLS)
def test_script_and_config_accept_the_command(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPO)
    words = shlex.split(command)[1:]
    for word in words:
        if "/" in word and not word.startswith(MADE_BY_COMMANDS):
            assert Path(word).is_file() or is_in_zoo(word), word
    args = parse(words, monkeypatch)
    if hasattr(args, "config_file"):
        cfg = load_config(args.config_file, [*args.opts, *getattr(args, "pairs", [])])
        weights = cfg.MODEL.WEIGHTS
        assert not weights.startswith("output/") or weights == "output/demo/model_final.pth"


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_relative_links_lead_somewhere(text: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", text.read_text())
    relative = [link.partition("#")[0] for link in links if "://" not in link]
    missing = [link for link in relative if link and not (text.parent / link).exists()]
    assert not missing
    if text.name == "README.md":
        assert "docs/images/shapes.png" in relative


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """This repository with a data set shapes of a few pictures and nothing in ``output``."""
    for name in ("train_net.py", "demo.py", "configs"):
        (tmp_path / name).symlink_to(REPO / name)
    shapes = tmp_path / "datasets" / "shapes"
    make_few_shapes(shapes, train=10, val=2)
    return tmp_path


@pytest.mark.slow
def test_train_evaluate_and_draw(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DETECTRON2_DATASETS")  # the default is what README.md speaks of

    def run(command: str) -> None:
        python, script, *arguments = shlex.split(command)
        assert python == "python"
        done = run_program(checkout / script, arguments, checkout)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    config = "configs/mask2former/shapes_panoptic_small.yaml"
    training = find_command("train_net.py", config, without="--eval-only")
    run(f"{training} SOLVER.MAX_ITER 2 OUTPUT_DIR output/demo")
    output = checkout / "output" / "demo"
    (output / "results.json").unlink()
    run(find_command("train_net.py", "--eval-only", config))
    assert set(json.loads((output / "results.json").read_text())) >= {"panoptic_seg", "sem_seg"}
    run(find_command("demo.py", config))
    drawn = sorted((checkout / "output" / "drawn").iterdir())
    pictures = sorted((checkout / "datasets" / "shapes" / "images_val").iterdir())
    assert [path.stem for path in drawn] == [path.stem for path in pictures]
    assert len(drawn) == 2
    for path in drawn:
        Image.open(path).verify()
