"""setup.py, the Makefile and the check of Python that it runs first."""

import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import setuptools


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 9, 18), (3, 14, 0)])
def test_other_pythons_stop_with_one_line(
    version: tuple[int, ...], repo_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(repo_dir / "tools/check_python.py"))
    message = stop.value.code
    assert "\n" not in message
    assert f"this is {version[0]}.{version[1]} " in message
    assert "PYTHON=python3.12" in message


@pytest.mark.parametrize("minor", [10, 11, 12, 13])
def test_supported_pythons_pass(
    minor: int, repo_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, minor, 0))
    runpy.run_path(str(repo_dir / "tools/check_python.py"))


def arguments_of_setup(repo_dir: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    arguments: dict = {}
    monkeypatch.setattr(setuptools, "setup", arguments.update)
    monkeypatch.chdir(repo_dir)
    runpy.run_path("setup.py")
    return arguments


def test_every_requirement_is_a_bounded_range(
    repo_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = arguments_of_setup(repo_dir, monkeypatch)
    lists = [arguments["install_requires"], *arguments["extras_require"].values()]
    requirements = [requirement for requirements in lists for requirement in requirements]
    assert len(requirements) > 10
    form = r"[a-z0-9_-]+(\[[a-z]+\])?>=[0-9.]+,<[0-9.]+(; platform_machine in '[\w ]+')?"
    for requirement in requirements:
        assert re.fullmatch(form, requirement), requirement


def test_setup_py_and_the_check_accept_the_same_pythons(
    repo_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = runpy.run_path(str(repo_dir / "tools/check_python.py"))
    (_, oldest), (_, newest) = check["OLDEST"], check["NEWEST"]
    arguments = arguments_of_setup(repo_dir, monkeypatch)
    assert arguments["python_requires"] == f">=3.{oldest},<3.{newest + 1}"


def test_the_wheel_holds_every_file_of_the_package(repo_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(repo_dir / "projects", source / "projects", ignore=ignore)
    shutil.copytree(repo_dir / "configs", source / "configs")
    for name in ("setup.py", "pyproject.toml", "README.md", "train_net.py", "demo.py"):
        shutil.copy(repo_dir / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "-w", tmp_path, source], check=True, capture_output=True)
    [wheel] = tmp_path.glob("d2seg-*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("d2seg/")}
    projects = repo_dir / "projects"
    files = {
        str(path.relative_to(projects))
        for path in (projects / "d2seg").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    files |= {"d2seg/train_net.py", "d2seg/demo.py"}
    configs = (repo_dir / "configs").rglob("*")
    files |= {f"d2seg/model_zoo/{p.relative_to(repo_dir)}" for p in configs if p.is_file()}
    assert files == packed


@pytest.fixture
def make(repo_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "PYTHON"):  # of a make that runs this test
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, cwd: Path = repo_dir) -> subprocess.CompletedProcess:
        return subprocess.run(["make", *arguments], cwd=cwd, capture_output=True, text=True)

    return run


def test_make_without_a_target_lists_all_of_them(make: Callable, repo_dir: Path) -> None:
    output = make().stdout
    [phony] = re.findall(r"^\.PHONY: (.*)$", (repo_dir / "Makefile").read_text(), re.MULTILINE)
    assert phony.split()
    for target in phony.split():
        assert re.search(rf"^  make {target} +\w", output, re.MULTILINE), target


def test_make_passes_its_variables_on(make: Callable) -> None:
    assert "tools/make_demo.py --device cuda" in make("-n", "demo", "DEVICE=cuda").stdout
    assert "--no-loadscope-reorder -k matcher" in make("-n", "test", "ARGS=-k matcher").stdout
    assert "python3.12 tools/setup_env.py" in make("-n", "test", "PYTHON=python3.12").stdout


def test_make_demo_refuses_an_unknown_device(make: Callable) -> None:
    result = make("demo", "DEVICE=gpu")
    assert result.returncode != 0
    assert "DEVICE is cpu, cuda or cuda:N" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_make_stops_where_the_check_of_python_does(
    make: Callable, tmp_path: Path, repo_dir: Path
) -> None:
    checkout = tmp_path
    shutil.copytree(repo_dir / "tools", checkout / "tools")
    shutil.copy(repo_dir / "Makefile", checkout)
    python = checkout / "python3.5"
    python.write_text("#!/bin/sh\necho setup: too old >&2\nexit 1\n")
    python.chmod(0o755)
    result = make("test", f"PYTHON={python}", cwd=checkout)
    assert result.returncode != 0
    lines = result.stderr.splitlines()
    assert lines[0] == "setup: too old"
    assert len(lines) == 2
    assert "*** [" in lines[1]  # make's own
    assert result.stdout == ""
