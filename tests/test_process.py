"""`import d2seg` changes nothing in the process; the programs ask for memory settings and quiet."""

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# what the package is built on changes some of this itself
IMPORTS_NOTHING_NEW = """
import logging, os, random, signal, sys, threading, warnings

import cv2, detectron2.data, detectron2.engine, detectron2.evaluation, detectron2.model_zoo
import detectron2.projects.deeplab, matplotlib, numpy as np, scipy.ndimage, scipy.optimize, timm
import torch, torchvision


def state():
    flush_denormal = (torch.tensor([1e-39]) * 0.5).item() == 0
    root = logging.getLogger()
    cuda, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    yield "environment", dict(os.environ)
    yield "working directory", os.getcwd()
    yield "module path", list(sys.path)
    yield "warnings", list(warnings.filters)
    yield "warnings shown by", warnings.showwarning
    yield "threads", (torch.get_num_threads(), torch.get_num_interop_threads(), cv2.getNumThreads())
    yield "running threads", threading.active_count()
    yield "denormals", flush_denormal
    yield "precision", (torch.get_float32_matmul_precision(), matmul.allow_tf32, cuda.allow_tf32)
    yield "cuDNN", (cuda.enabled, cuda.benchmark, cuda.deterministic)
    yield "determinism", torch.are_deterministic_algorithms_enabled()
    yield "defaults", (torch.get_default_dtype(), torch.get_default_device())
    yield "gradients", torch.is_grad_enabled()
    yield "random", random.getstate()
    yield "random of numpy", str(np.random.get_state(legacy=False))
    yield "random of torch", torch.get_rng_state().tolist()
    yield "numpy", (np.geterr(), np.get_printoptions())
    yield "logging", (root.level, list(root.handlers), logging.root.manager.disable)
    for name in ("d2seg", "detectron2", "fvcore", "timm", "PIL", "matplotlib"):
        logger = logging.getLogger(name)
        yield f"logger {name}", (logger.level, list(logger.handlers), logger.propagate)
    yield "signals", [signal.getsignal(number) for number in signal.valid_signals()]
    yield "excepthook", (sys.excepthook, sys.stdout, sys.stderr)
    yield "recursion", sys.getrecursionlimit()


before = dict(state())
import d2seg

changed = [name for name, value in state() if before[name] != value]
assert not changed, changed
"""
PAGE_FAULTS = """
import json
import resource
import sys

{preparation}
import torch

for series in map(json.loads, sys.argv[1:]):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for num_numbers in series:
        torch.zeros(num_numbers)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
START = """
import runpy, sys

try:
    runpy.run_path({program!r}, run_name="__main__")
except SystemExit:
    print(",".join(sys.modules))
"""
SELDOM_USED = {
    "av",
    "matplotlib.figure",
    "pandas",
    "scipy.optimize",
    "supervision",
    "transformers",
}
PREPARATION = "import d2seg_process\nd2seg_process.prepare_process()"
PREPARED = f"{PREPARATION}\nimport d2seg"  # of a heap as the programs have it
has_huge_pages = pytest.mark.skipif(
    not SETTING.is_file() or "[madvise]" not in SETTING.read_text(),
    reason="needs a Linux that gives huge pages to who asks for them",
)
IS_GLIBC = platform.libc_ver()[0] == "glibc"
has_glibc = pytest.mark.skipif(not IS_GLIBC, reason="it is glibc that keeps the memory")


def python(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    rest = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("THP_", "MALLOC_", "GLIBC_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=rest | environment,
    )
    assert done.returncode == 0, done.stderr
    return done


def page_faults(
    *series: Sequence[int], preparation: str = PREPARATION, **environment: str
) -> list[int]:
    """Of fp32 tensors of so many numbers, one after the other; for each series in one process."""
    script = PAGE_FAULTS.format(preparation=preparation)
    arguments = [json.dumps(list(sizes)) for sizes in series]
    return [int(line) for line in python(script, *arguments, **environment).stdout.split()]


# glibc's mallopt cannot be read back. By itself it keeps blocks that are no larger than one that was
# freed before; these ten are 38,000 pages of 4 KiB, the largest of them 5,000.
GROWING = range(2_750_000, 5_000_001, 250_000)
# 50,000 pages, or 5,000 ten times; some small block between may cost another 5,000
EQUAL = [5_000_000] * 10
LARGE = [15_000_000] * 6  # 15,000 pages each, above the 32 MiB up to which glibc may keep a map
HUGE = [50_000_000]  # 200 MB are 100 huge pages, or 50,000 pages of 4 KiB


def test_the_import_changes_nothing_in_the_process() -> None:
    """Nor what becomes of freed memory."""
    [faults] = page_faults(GROWING, preparation=IMPORTS_NOTHING_NEW, THP_MEM_ALLOC_ENABLE="0")
    assert faults > 30_000 or not IS_GLIBC


@has_glibc
def test_freed_memory_serves_the_next_tensor() -> None:
    growing, equal, large = page_faults(
        GROWING, EQUAL, LARGE, preparation=PREPARED, THP_MEM_ALLOC_ENABLE="0"
    )
    assert growing < 20_000
    assert equal < 20_000
    assert large < 30_000


def test_ctrl_c_in_the_imports_is_a_line(repo_dir: Path) -> None:
    code = "from d2seg_process import prepare_process; prepare_process(); raise KeyboardInterrupt"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=repo_dir / "projects", text=True
    )
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, "SIGINT: ended\n")


def test_nothing_is_searched_for_cycles_at_the_end() -> None:
    cycle = """
import atexit
class Node:
    def __del__(self):
        print("found")
node = Node()
node.itself = node
atexit.register(print, "ended")
"""
    assert python(cycle).stdout == "ended\nfound\n"
    assert python(f"{PREPARATION}\n{cycle}").stdout == "ended\n"


def test_the_programs_start_quietly_and_without_what_few_use(repo_dir: Path) -> None:
    script = START.format(program=str(repo_dir / "train_net.py"))
    started = python(script, "--help")
    assert started.stderr == ""
    # half a second of a program's start each, and used by few
    assert not SELDOM_USED & set(started.stdout.split()[-1].split(","))


def test_every_program_that_uses_the_package_prepares_its_process(repo_dir: Path) -> None:
    """Before it imports anything that could warn or allocate."""
    programs = [
        repo_dir / "train_net.py",
        repo_dir / "demo.py",
        *(repo_dir / "tools").rglob("*.py"),
    ]
    programs = [path for path in programs if "from d2seg." in path.read_text()]
    assert len(programs) > 15
    for path in programs:
        before, called, _ = path.read_text().partition("\nprepare_process()")
        assert called, path
        for package in ("d2seg.", "detectron2", "torch"):
            assert f"\nimport {package}" not in before, path
            assert f"\nfrom {package}" not in before, path


@has_huge_pages
def test_large_tensors_come_in_huge_pages() -> None:
    [faults] = page_faults(HUGE)
    assert faults < 10_000


@pytest.mark.parametrize(
    "users_word",
    [
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"},
    ],
)
@has_glibc
def test_the_users_word_counts(users_word: dict[str, str]) -> None:
    equal, huge = page_faults(EQUAL, HUGE, THP_MEM_ALLOC_ENABLE="0", **users_word)
    assert equal > 40_000
    assert huge > 40_000
