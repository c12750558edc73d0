"""The public names of the package, and other projects' names beside them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import d2seg

# a project that registers a model of the same name, as the official ones do
PROGRAM = """
import sys
from detectron2.modeling import META_ARCH_REGISTRY

class MaskFormer:
    pass

META_ARCH_REGISTRY.register(MaskFormer)
try:
    import d2seg
except ImportError as error:
    print(error)
META_ARCH_REGISTRY._obj_map.clear()
import d2seg

print([name for name in ("engine", "prediction", "evaluation") if f"d2seg.{name}" in sys.modules])
try:
    META_ARCH_REGISTRY.register(MaskFormer)
except AssertionError as error:
    print(error)
"""


def test_a_name_that_is_taken_is_refused_in_one_line(repo_dir: Path) -> None:
    """Whichever of both comes second; and an import of d2seg imports no more than it needs."""
    environment = os.environ | {"PYTHONPATH": str(repo_dir / "projects"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, imported, second = done.stdout.splitlines()
    assert first.startswith("MaskFormer is already in detectron2's registry META_ARCH: another")
    assert imported == "[]"
    assert second == "An object named 'MaskFormer' was already registered in 'META_ARCH' registry!"


def test_every_public_name_is_there_and_documented() -> None:
    for name in d2seg.__all__:
        value = getattr(d2seg, name)
        assert name in dir(d2seg)
        assert value.__doc__
        assert getattr(d2seg, name) is value
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        d2seg.absent  # noqa: B018
