"""The wheel, in an environment that knows nothing of this checkout."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import d2seg
from families.few_shapes import make_few_shapes

CONFIG = "segformer/shapes_semantic_small"
WITHOUT_DETECTRON2 = "import sys; sys.modules['detectron2'] = None; "


def call(*command: object, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    inherited = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**inherited, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def wheel(repo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: building leaves files beside the sources."""
    copy = tmp_path_factory.mktemp("sources")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("configs", "projects"):
        shutil.copytree(repo_dir / name, copy / name, ignore=unwanted)
    for name in ("setup.py", "pyproject.toml", "train_net.py", "demo.py", "MANIFEST.in"):
        shutil.copy(repo_dir / name, copy / name)
    done = call(sys.executable, "setup.py", "-q", "bdist_wheel", folder=copy)
    assert done.returncode == 0, done.stderr
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_it_holds_what_lies_at_the_top_of_the_tree(wheel: Path, repo_dir: Path) -> None:
    assert wheel.name == f"d2seg-{d2seg.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"d2seg-{d2seg.__version__}.dist-info/METADATA").decode()
    configs = [path.relative_to(repo_dir).as_posix() for path in repo_dir.glob("configs/**/*.yaml")]
    assert len(configs) > 150
    assert {f"d2seg/model_zoo/{path}" for path in configs} <= names
    scripts = {"d2seg/train_net.py", "d2seg/demo.py", "d2seg_command.py", "d2seg_process.py"}
    assert scripts | {"d2seg/py.typed", "d2seg/config/zoo.csv"} <= names
    page = repo_dir / "projects/d2seg/serving/page"
    assert {f"d2seg/serving/page/{path.name}" for path in page.iterdir()} <= names
    assert not [name for name in names if name.startswith(("tests", "tools", "configs"))]
    assert "Requires-Dist: torch" in metadata
    assert "detectron2" not in re.findall(r"Requires-Dist: (\S+)", metadata)


def test_the_changelog_has_the_version(repo_dir: Path) -> None:
    assert f"\n## {d2seg.__version__}" in (repo_dir / "CHANGELOG.md").read_text()


def test_without_detectron2_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    script = WITHOUT_DETECTRON2 + "import d2seg_command; sys.exit(d2seg_command.main())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("d2seg: error: d2seg needs detectron2, ")
    assert "pip install --no-deps " in done.stderr
    script = WITHOUT_DETECTRON2 + "import d2seg"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].startswith("ImportError: d2seg needs detectron2, ")


@pytest.fixture
def environment(wheel: Path, tmp_path: Path) -> Path:
    """The folder of the programs of a fresh environment: the wheel, and beside it what this
    environment has, but for its own d2seg."""
    venv = tmp_path / "venv"
    for command in (
        (sys.executable, "-m", "venv", "--without-pip", venv),
        (
            *(sys.executable, "-m", "pip", "--python", venv / "bin/python", "install", "--quiet"),
            *("--no-deps", "--no-index", wheel),
        ),
    ):
        done = call(*command, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    (site_packages,) = venv.glob("lib/python*/site-packages")
    # a path in a .pth file is searched, the .pth files there are not read
    (site_packages / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv / "bin"


@pytest.mark.slow
def test_train_evaluate_and_draw_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    datasets, folder = tmp_path / "datasets", tmp_path / "empty"
    folder.mkdir()
    shapes = datasets / "shapes"
    make_few_shapes(shapes, train=10, val=2)

    def run(*arguments: object) -> str:
        done = call(*arguments, folder=folder, DETECTRON2_DATASETS=str(datasets))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    where = "import importlib.util; print(importlib.util.find_spec('d2seg').origin)"
    assert run(environment / "python", "-c", where).startswith(str(tmp_path))
    pairs = ("MODEL.DEVICE", "cpu", "OUTPUT_DIR", "out")
    train = (environment / "d2seg", "train", "--config", CONFIG)
    run(*train, *pairs, "SOLVER.MAX_ITER", 2, "TEST.EVAL_PERIOD", 0)  # evaluated at the end
    assert "mIoU" in json.loads((folder / "out/results.json").read_text())["sem_seg"]
    drawn = ("--input", shapes / "images_val", "--output", "drawn")
    weights = ("MODEL.WEIGHTS", "out/model_final.pth")
    script = (environment / "python", "-m", "d2seg.demo", "--config-file", CONFIG)
    run(*script, *drawn, "--opts", *pairs[:2], *weights)
    pictures = sorted((folder / "drawn").iterdir())
    assert len(pictures) == 2
    for picture in pictures:
        Image.open(picture).verify()
    assert sorted(path.name for path in folder.iterdir()) == ["drawn", "out"]
