"""tools/setup_env.py leaves a complete environment alone and sets up anything less again."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ALL_STEPS = [
    *("create_venv", "check_index", "forget_incomplete", "pip_install", "pip_install"),
    *("install_detectron2", "verify"),
]


@pytest.fixture
def setup_env(load_tool: Callable[[str], ModuleType]) -> ModuleType:
    """A fresh copy of tools/setup_env.py, so that a test may patch it."""
    return load_tool("setup_env")


@pytest.fixture
def project(tmp_path: Path, repo_dir: Path, setup_env: ModuleType) -> Path:
    """A checkout that holds the set-up and nothing else."""
    for name in setup_env.REQUIREMENTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(repo_dir / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def steps(setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the steps that set_up takes; each does nothing but leave a package."""
    taken: list[str] = []

    def fake(name: str) -> None:
        def step(venv: Path, *_: object) -> None:
            taken.append(name)
            if name == "create_venv":
                python = setup_env.python_of(venv)
                python.parent.mkdir(parents=True, exist_ok=True)
                python.touch()
            if name == "install_detectron2":
                record = setup_env.site_packages_of(venv) / "detectron2-1.0.dist-info" / "RECORD"
                record.parent.mkdir(parents=True, exist_ok=True)
                record.touch()

        monkeypatch.setattr(setup_env, name, step)

    for name in set(ALL_STEPS):
        fake(name)
    monkeypatch.setattr(setup_env, "check_disk", lambda folder, venv: None)
    return taken


def test_second_call_installs_nothing(
    setup_env: ModuleType, project: Path, steps: list[str]
) -> None:
    setup_env.set_up(project, project / ".venv")
    assert steps == ALL_STEPS
    steps.clear()
    setup_env.set_up(project, project / ".venv")
    assert steps == []


def test_two_calls_at_a_time_set_up_once(
    setup_env: ModuleType,
    project: Path,
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check_disk(folder: Path, venv: Path) -> None:
        both_started.wait(timeout=10)
        time.sleep(0.2)  # long enough for the other call to come in, if nothing kept it out

    both_started = threading.Event()
    monkeypatch.setattr(setup_env, "check_disk", check_disk)
    arguments = (project, project / ".venv")
    calls = [threading.Thread(target=setup_env.set_up, args=arguments) for _ in range(2)]
    for thread in calls:
        thread.start()
    both_started.set()
    for thread in calls:
        thread.join()
    assert steps == ALL_STEPS


@pytest.mark.parametrize("last_step", ["pip_install", "install_detectron2", "verify"])
def test_interrupted_set_up_is_resumed(
    last_step: str,
    setup_env: ModuleType,
    project: Path,
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(setup_env, last_step, interrupt)
        with pytest.raises(KeyboardInterrupt):
            setup_env.set_up(project, project / ".venv")
    steps.clear()
    setup_env.set_up(project, project / ".venv")
    assert steps == ALL_STEPS


@pytest.mark.parametrize(
    "change", ["requirements", "package", "interpreter", "stamp", "version", "place"]
)
def test_anything_less_than_complete_is_set_up_again(
    change: str,
    setup_env: ModuleType,
    project: Path,
    steps: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    venv = project / ".venv"
    setup_env.set_up(project, venv)
    if change == "requirements":
        with open(project / "constraints.txt", "a") as file:
            file.write("tqdm<4.70\n")
    elif change == "package":
        next(venv.rglob("RECORD")).unlink()
    elif change == "interpreter":
        setup_env.python_of(venv).unlink()
    elif change == "stamp":
        setup_env.stamp_of(venv).write_text("{")
    elif change == "version":
        monkeypatch.setattr(sys, "version_info", (3, 8, 0))
    else:
        project = project.rename(project.with_name("moved"))
        venv = project / ".venv"
    steps.clear()
    setup_env.set_up(project, venv)
    assert steps == ALL_STEPS


def test_a_failed_set_up_takes_back_the_stamp(
    setup_env: ModuleType, project: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise setup_env.SetupError("no")

    setup_env.set_up(project, project / ".venv")
    before = (project / "constraints.txt").read_text()
    (project / "constraints.txt").write_text("numpy<1\n")
    with monkeypatch.context() as patch:
        patch.setattr(setup_env, "pip_install", fail)
        with pytest.raises(setup_env.SetupError):
            setup_env.set_up(project, project / ".venv")
    (project / "constraints.txt").write_text(before)
    steps.clear()
    setup_env.set_up(project, project / ".venv")
    assert steps == ALL_STEPS  # what the failed call left is not what the old stamp described


def test_a_failure_shows_one_line_and_no_traceback(project: Path) -> None:
    (project / "sitecustomize.py").write_text(
        "import shutil\nshutil.disk_usage = lambda _: shutil._ntuple_diskusage(8e9, 5e9, 3e9)\n"
    )
    result = subprocess.run(
        [sys.executable, "tools/setup_env.py"],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"setup: needs 10 GB of free disk and {project} has 3.0; make room there\n"
    )
