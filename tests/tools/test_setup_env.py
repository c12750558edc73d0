"""The steps of tools/setup_env.py, and what stops it with one line."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def setup_env(load_tool: Callable[[str], ModuleType]) -> ModuleType:
    """A fresh copy of tools/setup_env.py, so that a test may patch it."""
    return load_tool("setup_env")


def add_package(site_packages: Path, name: str, record: bool = True) -> Path:
    metadata = site_packages / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").touch()
    if record:
        (metadata / "RECORD").touch()
    return metadata


def without_index(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    """Leave pip only the given settings, none of the machine's."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name, value in {"PIP_CONFIG_FILE": os.devnull, **settings}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("free_gb", [0.5, 9.9])
def test_little_disk_is_refused(
    free_gb: float, setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(100e9, 0, free_gb * 1e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(setup_env.SetupError, match=f"10 GB .* has {free_gb}; make room"):
        setup_env.check_disk(tmp_path, tmp_path / ".venv")


def test_enough_disk_passes(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil._ntuple_diskusage(100e9, 0, 10.1e9)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    setup_env.check_disk(tmp_path, tmp_path / ".venv")


def test_little_disk_will_do_once_torch_is_installed(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(free_gb: float) -> None:
        usage = shutil._ntuple_diskusage(100e9, 0, free_gb * 1e9)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
        setup_env.check_disk(tmp_path, tmp_path / ".venv")

    site_packages = setup_env.site_packages_of(tmp_path / ".venv")
    torch = add_package(site_packages, "torch", record=False)
    add_package(site_packages, "torch_geometry")
    with pytest.raises(setup_env.SetupError, match=r"10 GB .* has 1\.1; make room"):
        check(1.1)  # torch was cut off while it was being installed
    (torch / "RECORD").touch()
    check(1.1)
    with pytest.raises(setup_env.SetupError, match=r"1 GB .* has 0\.9; make room"):
        check(0.9)


def test_unreachable_index_is_refused(
    setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_index(monkeypatch, PIP_INDEX_URL="http://127.0.0.1:9/")  # the discard port: closed
    with pytest.raises(setup_env.SetupError, match="no package index; check the network"):
        setup_env.check_index(sys.executable)


def test_index_is_asked_as_the_user_configured_pip(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = "yacs-9.9.dist-info"
    with zipfile.ZipFile(tmp_path / "yacs-9.9-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{metadata}/METADATA", "Metadata-Version: 2.1\nName: yacs\nVersion: 9.9\n")
        wheel.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{metadata}/RECORD", "")
    without_index(monkeypatch, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    setup_env.check_index(sys.executable)


def test_python_without_venv_and_pip_names_the_package_to_install(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_env, "succeeds", lambda *command: False)
    package = "python{}.{}-venv".format(*sys.version_info)
    with pytest.raises(setup_env.SetupError, match=f"apt install {re.escape(package)}"):
        setup_env.create_venv(tmp_path / ".venv")


def test_unusable_environment_says_why(setup_env: ModuleType, tmp_path: Path) -> None:
    python = setup_env.python_of(tmp_path)
    python.parent.mkdir()
    python.write_text("#!/bin/sh\necho Traceback >&2\necho 'ImportError: no torch' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(setup_env.SetupError, match=r"not usable \(ImportError: no torch\)"):
        setup_env.verify(tmp_path)


def test_packages_cut_off_during_installation_are_forgotten(
    setup_env: ModuleType, tmp_path: Path
) -> None:
    site_packages = setup_env.site_packages_of(tmp_path)
    whole = add_package(site_packages, "whole")
    cut_off = add_package(site_packages, "cut_off", record=False)
    setup_env.forget_incomplete(tmp_path)
    assert whole.exists()
    assert not cut_off.exists()


def test_a_new_environment_has_python_and_pip(setup_env: ModuleType, tmp_path: Path) -> None:
    venv = tmp_path / "with space"
    setup_env.create_venv(venv)
    command = [setup_env.python_of(venv), "-m", "pip", "--version"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert str(setup_env.site_packages_of(venv)) in output


@pytest.mark.parametrize(("found", "cleared"), [("python3.8", True), ("this", False)])
def test_only_an_environment_of_another_python_is_cleared(
    found: str,
    cleared: bool,
    setup_env: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[tuple] = []
    monkeypatch.setattr(setup_env, "succeeds", lambda *command: commands.append(command) or True)
    this = setup_env.site_packages_of(tmp_path)
    folder = this if found == "this" else tmp_path / "lib" / found / "site-packages"
    folder.mkdir(parents=True)
    setup_env.python_of(tmp_path).parent.mkdir()
    setup_env.python_of(tmp_path).touch()
    setup_env.create_venv(tmp_path)
    assert ("--clear" in commands[-1]) == cleared


def test_without_ensurepip_the_interpreters_pip_installs_one(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def succeeds(*command: object) -> bool:
        commands.append([*map(str, command)])
        no_pip_yet = commands[-1][0] == str(setup_env.python_of(tmp_path))
        return not (no_pip_yet or commands[-1][-1] == "import ensurepip, venv")

    monkeypatch.setattr(setup_env, "succeeds", succeeds)
    setup_env.create_venv(tmp_path)
    assert any(command[-1] == "--without-pip" for command in commands)
    target = ["--target", str(setup_env.site_packages_of(tmp_path))]
    assert commands[-1][0] == setup_env.base_python()
    assert commands[-1][-2:] == target


def test_an_importable_detectron2_is_kept(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("detectron2 would be replaced")

    monkeypatch.setattr(setup_env, "succeeds", lambda *command: True)
    monkeypatch.setattr(setup_env, "pip_install", refuse)
    setup_env.install_detectron2(tmp_path)


def unpack_wheel(stage: Path) -> None:
    """What pip leaves of sal-detectron2, in small."""
    add_package(stage, "sal_detectron2")
    for folder in ("detectron2", "tools"):
        (stage / folder).mkdir()
        (stage / folder / "__init__.py").touch()
    (stage / "detectron2" / "_C.cpython-310-x86_64-linux-gnu.so").touch()


def test_detectron2_is_installed_without_its_tools_and_compiled_file(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, site_packages = tmp_path / "detectron2.part", setup_env.site_packages_of(tmp_path)
    (site_packages / "detectron2").mkdir(parents=True)
    (site_packages / "detectron2" / "left_over.py").touch()
    (stage / "detectron2").mkdir(parents=True)  # of an interrupted call
    monkeypatch.setattr(setup_env, "succeeds", lambda *command: False)
    monkeypatch.setattr(setup_env, "pip_install", lambda venv, *arguments: unpack_wheel(stage))
    setup_env.install_detectron2(tmp_path)
    installed = {str(path.relative_to(site_packages)) for path in site_packages.rglob("*.*")}
    assert installed == {"detectron2/__init__.py", "sal_detectron2-1.0.dist-info"}
    assert not stage.exists()


def test_detectron2_is_pinned_by_its_hash(
    setup_env: ModuleType, repo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple] = []

    def pip_install(venv: Path, *arguments: object) -> None:
        calls.append(arguments)
        unpack_wheel(tmp_path / "detectron2.part")

    setup_env.site_packages_of(tmp_path).mkdir(parents=True)
    monkeypatch.setattr(setup_env, "succeeds", lambda *command: False)
    monkeypatch.setattr(setup_env, "pip_install", pip_install)
    setup_env.install_detectron2(tmp_path)
    [arguments] = calls
    assert "--require-hashes" in arguments
    lines = (repo_dir / arguments[-1]).read_text().replace("\\\n", " ").splitlines()
    [line] = [line for line in lines if not line.startswith("#")]
    assert re.fullmatch(r"sal-detectron2==\S+ +--hash=sha256:[0-9a-f]{64}", line)
