"""The completion of the command, in a shell."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from d2seg.cli import COMMANDS, main

TRY = """
source "$1"; shift
COMP_WORDS=(d2seg "$@"); COMP_CWORD=$#
_shtab_d2seg d2seg "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab")
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    path = tmp_path_factory.mktemp("completion") / "d2seg"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as file:
        patch.setattr(sys, "stdout", file)
        assert main(["--print-completion", "bash"]) == 0
    return path


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ([""], set(COMMANDS)),
        (["tr"], {"train"}),
        (["draw", "--task", ""], {"panoptic", "semantic", "instance", "referring"}),
        (["draw", "--in"], {"--input"}),
        (
            ["train", "--config-file", "topformer/ade"],
            {f"topformer/ade20k_semantic_{size}" for size in ("base", "small", "tiny")},
        ),
        (
            ["info", "restr/shapes"],
            {"restr/shapes_referring_resnet50", "restr/shapes_referring_small"},
        ),
        (["train", "--config-file", "own"], {"own.yaml"}),
        (["predict", "--input", "own"], {"own.yaml"}),
    ],
)
def test_what_bash_offers(script: Path, tmp_path: Path, typed: list[str], offered: set) -> None:
    (tmp_path / "own.yaml").touch()
    done = subprocess.run(
        ["bash", "-c", TRY, "bash", script, *typed], capture_output=True, text=True, cwd=tmp_path
    )
    assert set(done.stdout.split()) == offered, done.stderr


def test_zsh_gets_a_script_too(capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("shtab")
    assert main(["--print-completion", "zsh"]) == 0
    script = capsys.readouterr().out
    assert script.startswith("#compdef d2seg\n")
    assert "'names:config:(" in script


@pytest.mark.parametrize("shells", [[], ["csh"], ["bash", "zsh"]])
def test_other_shells(shells: list[str], capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("shtab")
    assert main(["--print-completion", *shells]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --print-completion takes one of bash, zsh, ")
    assert error.count("\n") == 1


def test_without_shtab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 2
    assert capsys.readouterr().err == "error: --print-completion needs shtab: pip install shtab\n"
