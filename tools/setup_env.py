"""Make `.venv` and install everything into it; a complete one is left alone within a second.

A stamp, written last, says that the environment is complete, and for which requirements. Without a
valid stamp every step runs again: it keeps what is whole and brings what is not. Standard library
only; `tools/check_python.py` has seen to the version of the interpreter.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
REQUIREMENTS = (
    "setup.py",
    "constraints.txt",
    "requirements-detectron2.txt",
    "requirements-panopticapi.txt",
    "tools/setup_env.py",
)
NEEDED_GB = 10  # torch and its CUDA libraries take 6 in the end, more on the way
NEEDED_GB_WITH_TORCH = 1  # once these are there
# What has to import in the end; whether d2seg itself does is for the tests to say.
IMPORTS = (
    "torch, torchvision, scipy, timm, cv2, safetensors, torch.utils.tensorboard, detectron2.engine,"
    "detectron2.evaluation, detectron2.model_zoo, detectron2.utils.visualizer, detectron2.projects,"
    "pytest, xdist, hypothesis, transformers, panopticapi.evaluation, faster_coco_eval, av,"
    "supervision, shtab, onnx, onnxscript, onnxruntime, openvino, pyarrow, submitit, fastapi,"
    "fastapi_offline, uvicorn, python_multipart, httpx2, tifffile, imagecodecs, mkdocs,"
    "mkdocs_jupyter, nbclient, ipykernel, playwright.sync_api"
)


class SetupError(Exception):
    """What went wrong and what to do about it, in one line."""


def python_of(venv: Path) -> Path:
    return venv / "bin" / "python"


def site_packages_of(venv: Path) -> Path:
    return venv / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"


def base_python() -> str:
    """The interpreter itself, where a virtual environment's is running."""
    return getattr(sys, "_base_executable", sys.executable)


def succeeds(*command: object) -> bool:
    """Run a command without showing its output."""
    return subprocess.run([*map(str, command)], capture_output=True).returncode == 0


def pip_install(venv: Path, what: str, *arguments: object) -> None:
    say(f"installing {what}")
    command = [python_of(venv), "-m", "pip", "install", *arguments]
    if subprocess.run([*map(str, command)], cwd=ROOT).returncode:
        raise SetupError(
            "pip's messages above say what failed; then run the same command again, "
            "it goes on from here"
        )


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def stamp_of(venv: Path) -> Path:
    return venv / "d2seg-setup.json"


def requirements_key(root: Path) -> str:
    """Changes with the requirements, the version of Python and the place of the checkout."""
    digest = hashlib.sha256(f"{root} {sys.version_info[:2]}".encode())
    for name in REQUIREMENTS:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def is_complete(venv: Path, key: str) -> bool:
    """Whether the stamp is for `key` and every package it lists is still there."""
    try:
        stamp = json.loads(stamp_of(venv).read_text())
    except (OSError, ValueError):
        return False
    records = [site_packages_of(venv) / name / "RECORD" for name in stamp["packages"]]
    return stamp["key"] == key and all(path.exists() for path in [python_of(venv), *records])


def write_stamp(venv: Path, key: str) -> None:
    packages = sorted(path.name for path in site_packages_of(venv).glob("*.dist-info"))
    partial = stamp_of(venv).with_suffix(".part")
    partial.write_text(json.dumps({"key": key, "packages": packages}, indent=1))
    partial.replace(stamp_of(venv))


def check_disk(folder: Path, venv: Path) -> None:
    # pip writes RECORD last
    has_torch = any(site_packages_of(venv).glob("torch-*.dist-info/RECORD"))
    needed = NEEDED_GB_WITH_TORCH if has_torch else NEEDED_GB
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise SetupError(
            f"needs {needed} GB of free disk and {folder} has {free:.1f}; make room there"
        )


def create_venv(venv: Path) -> None:
    """Make or complete the environment, and give it a pip.

    Debian keeps `ensurepip` in a package of its own (python3-venv). Without it, the pip that
    belongs to the interpreter installs one.
    """
    command = [base_python(), "-m", "venv", venv]
    if venv.exists() and not (python_of(venv).exists() and site_packages_of(venv).is_dir()):
        command.append("--clear")  # of another version of Python, or of one that is gone
    has_ensurepip = succeeds(base_python(), "-c", "import ensurepip, venv")
    if not has_ensurepip:
        command.append("--without-pip")
        if not succeeds(base_python(), "-c", "import pip, venv"):
            package = "python{}.{}-venv".format(*sys.version_info)
            raise SetupError(
                f"{base_python()} cannot make virtual environments; "
                f"install them, as with `sudo apt install {package}`"
            )
    say(f"making {venv} with {base_python()}")
    if not succeeds(*command):
        raise SetupError(f"`{' '.join(map(str, command))}` failed; run it to see why")
    if not has_ensurepip and not succeeds(python_of(venv), "-m", "pip", "--version"):
        check_index(base_python())
        if not succeeds(
            *(base_python(), "-m", "pip", "install", "--upgrade", "pip"),
            *("--target", site_packages_of(venv)),
        ):
            raise SetupError(f"`{base_python()} -m pip` could not install pip into {venv}")


def check_index(python: object) -> None:
    """Fetch one small package the way pip is configured to."""
    with tempfile.TemporaryDirectory() as folder:
        fetch = ("download", "--no-deps", "--no-cache-dir", "--retries", "1", "--dest", folder)
        if not succeeds(python, "-m", "pip", *fetch, "yacs"):
            raise SetupError(
                "pip reaches no package index; check the network, the proxy, "
                f"and what `{python} -m pip config list` says"
            )


def forget_incomplete(venv: Path) -> None:
    """Remove the metadata of packages whose installation was cut off, so that pip starts them anew.

    pip writes RECORD last, but takes a package without one for installed.
    """
    for metadata in site_packages_of(venv).glob("*.dist-info"):
        if not (metadata / "RECORD").exists():
            say(f"{metadata.stem} was not installed to the end")
            shutil.rmtree(metadata)


def install_detectron2(venv: Path) -> None:
    """Keep a detectron2 that imports. Otherwise bring the pinned one, whole or not at all."""
    if succeeds(python_of(venv), "-c", "import detectron2.engine, detectron2.model_zoo"):
        return
    stage = venv / "detectron2.part"
    shutil.rmtree(stage, ignore_errors=True)
    pip_install(
        venv,
        "detectron2",
        *("--no-deps", "--only-binary=:all:", "--python-version=3.10", "--implementation=cp"),
        *("--abi=none", "--platform=any", "--require-hashes", "--target", stage),
        *("-r", "requirements-detectron2.txt"),
    )
    for compiled in stage.glob("detectron2/_C*.so"):
        compiled.unlink()  # for one version of Python and of torch; without it detectron2 does too
    # Of the wheel's top folders, `tools` would hide this project's. The package itself moves last:
    # what imports is complete.
    for part in [*stage.glob("*.dist-info"), stage / "detectron2"]:
        target = site_packages_of(venv) / part.name
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    shutil.rmtree(stage)


def verify(venv: Path) -> None:
    command = [python_of(venv), "-c", f"import {IMPORTS}"]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=venv)
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise SetupError(f"{venv} is not usable ({reason}); remove it and run make again")


def set_up(root: Path = ROOT, venv: Path = VENV) -> None:
    key = requirements_key(root)
    if is_complete(venv, key):
        return
    # two makes at a time would spoil each other's work
    with open(__file__, "r+") as lock:  # writable, as a lock over NFS wants it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_complete(venv, key):
            return
        check_disk(root, venv)
        stamp_of(venv).unlink(missing_ok=True)
        create_venv(venv)
        check_index(python_of(venv))
        forget_incomplete(venv)
        everything = ("-c", "constraints.txt", "-e", ".[dev]")
        pip_install(venv, "torch and all that goes with it (a few minutes)", *everything)
        pip_install(venv, "panopticapi", "--no-deps", "-r", "requirements-panopticapi.txt")
        install_detectron2(venv)
        verify(venv)
        write_stamp(venv, key)
        say(f"{venv} is complete")


if __name__ == "__main__":
    try:
        set_up()
    except SetupError as error:
        sys.exit(f"setup: {error}")
    except KeyboardInterrupt:
        sys.exit("setup: interrupted; the next call goes on from here")
