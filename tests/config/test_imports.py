"""Modules of a user: which are imported by whom, and what is said where that fails."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import META_ARCH_REGISTRY, build_model

import d2seg
from d2seg.cli import main
from d2seg.config.checks import check_values
from d2seg.config.description import describe
from d2seg.config.imports import import_modules
from d2seg.config.loading import load_config

NET = """
import torch
from detectron2.modeling import META_ARCH_REGISTRY

@META_ARCH_REGISTRY.register()
class UsersNet(torch.nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.scores = torch.nn.Parameter(torch.arange(2.0))

    def forward(self, batch):
        sizes = [(one["height"], one["width"]) for one in batch]
        return [{"sem_seg": self.scores[:, None, None].expand(2, *size)} for size in sizes]
"""
CONFIG = """
IMPORTS: [users_net]
MODEL: {META_ARCHITECTURE: UsersNet, DEVICE: cpu}
TEST: {TASKS: [semantic]}
"""
FAILING = {
    "raises": (
        "def f():\n    raise KeyError('a\\nb')\nf()\n",
        r"fails with KeyError: .*raises\.py:2",
    ),
    "deep": ("import json\njson.loads('no')\n", r"fails with JSONDecodeError: .*deep\.py:2\)"),
    "misspelt": ("x = (1\n", r"fails with SyntaxError: .*misspelt\.py:1\)"),
    "needs": ("import no_such_package\n", r"fails with ModuleNotFoundError: .*needs\.py:1\)"),
    "exits": ("import sys\nsys.exit(3)\n", r"ends the program, sys\.exit\(3\) \(.*exits\.py:2\)"),
    "parses": (
        "import argparse\nargparse.ArgumentParser().parse_args(['x'])\n",
        r"ends the program, sys\.exit\(2\) \(.*parses\.py:2\); put what runs it as a script under",
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with the module users_net; registrations end with the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(META_ARCH_REGISTRY, "_obj_map", dict(META_ARCH_REGISTRY._obj_map))
    (tmp_path / "users_net.py").write_text(NET)
    (tmp_path / "users.yaml").write_text(CONFIG)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def forget() -> None:
    """As in a new process."""
    del sys.modules["users_net"], META_ARCH_REGISTRY._obj_map["UsersNet"]


@pytest.mark.parametrize("name", FAILING)
def test_a_module_that_fails_is_one_line_with_the_users_place(folder: Path, name: str) -> None:
    text, message = FAILING[name]
    (folder / f"{name}.py").write_text(text)
    for ask in (
        lambda: import_modules([name]),
        lambda: load_config(None, ["IMPORTS", f"['{name}']"]),
    ):
        with pytest.raises(ValueError, match=rf"^(--import|IMPORTS:) {name} {message}") as error:
            ask()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such", r"there is no module 'no_such' in /.* or the environment"),
        ("no_such.part", "there is no module 'no_such'"),
        ("users_net.part", r"there is no module 'users_net\.part'"),
        ("users_net.py", "'users_net.py' is no name of a module; give it as in Python"),
        ("./users_net", "'./users_net' is no name of a module"),
        (".users_net", "'.users_net' is no name of a module"),
        ("", "'' is no name of a module"),
        ("plain", r".*/plain is a folder without __init__\.py, so nothing in it is run"),
    ],
)
def test_a_name_that_is_none(folder: Path, name: str, message: str) -> None:
    (folder / "plain").mkdir()
    with pytest.raises(ValueError, match=rf"^--import {re.escape(name)}: {message}"):
        import_modules([name])
    assert name == "users_net.part" or "users_net" not in sys.modules  # nothing has run


def test_a_config_and_its_command_line_name_modules(folder: Path) -> None:
    cfg = load_config("users.yaml")
    assert type(build_model(cfg)).__name__ == "UsersNet"
    assert cfg.IMPORTS == ["users_net"]
    forget()
    with pytest.raises(ValueError, match=r"MODEL\.META_ARCHITECTURE is 'UsersNet', which"):
        check_values(load_config("users.yaml", ["IMPORTS", "[]"]), training=False)
    assert "users_net" not in sys.modules
    cfg = load_config(None, imports=["users_net"])
    assert cfg.IMPORTS == ["users_net"]  # which a checkpoint then says, and config.yaml
    assert load_config("users.yaml", imports=["users_net"]).IMPORTS == ["users_net"]


def test_the_command_obeys_a_config(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["info", "users.yaml", "--no-step", "--size", "8", "8"]) == 0
    assert "parameters, M" in capsys.readouterr().out


def test_detectron2s_own_reading_imports_nothing(folder: Path) -> None:
    cfg = get_cfg()
    d2seg.add_d2seg_config(cfg)
    cfg.merge_from_file("users.yaml")
    assert "users_net" not in sys.modules


def test_a_checkpoint_imports_nothing_by_itself(folder: Path) -> None:
    cfg = load_config("users.yaml")
    torch.save({"model": build_model(cfg).state_dict(), "d2seg": describe(cfg)}, "a.pth")
    forget()
    message = "'UsersNet', which nothing has registered; its training imported users_net, which a"
    with pytest.raises(ValueError, match=message) as error:
        d2seg.load("a.pth", device="cpu")
    assert "\n" not in str(error.value)
    assert "users_net" not in sys.modules
    picture = np.zeros((4, 6, 3), np.uint8)
    for predictor in (
        d2seg.load("a.pth", device="cpu", config="users.yaml"),  # a file of the user's
        d2seg.load("a.pth", device="cpu"),  # since it is imported now
    ):
        assert predictor(picture).labels().tolist() == [[1] * 6] * 4
