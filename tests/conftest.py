"""Fixtures that every test may ask for."""

import gc
import os
import random
from pathlib import Path

import hypothesis
import pytest
import yaml

from browser import browser, open_page  # noqa: F401  fixtures
from d2seg_process import ask_for_huge_pages, keep_freed_memory

# Data sets that tests make land in a folder of their own, never in a user's. The variable is read
# when d2seg.data registers its data sets, hence before any test module imports it.
_REPO = Path(__file__).resolve().parents[1]
os.environ["DETECTRON2_DATASETS"] = os.environ.get(
    "D2SEG_TEST_DATASETS", str(_REPO / "output" / "test_datasets")
)
if "PYTEST_XDIST_WORKER" in os.environ:
    # one thread for each of the processes that share the cores: OpenMP's threads wait for each
    # other busily, which costs up to ten times the work when there are more of them than cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# the same examples in every run, however busy the machine is
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")
# as the programs ask for it; pytest has its own filters of warnings
ask_for_huge_pages()
keep_freed_memory()
# libyaml's parser under fvcore's reading of configs, of which the suite has thousands
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# looks for unreachable cycles, which took a fiftieth of the suite
gc.set_threshold(50_000, 10, 10)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First the files whose tests train in a fork, which is impossible once autograd has had
    threads in this process; then those with slow tests: at the end, one process would be busy with
    them alone."""
    forks, slow = (
        {item.path for item in items if item.get_closest_marker(name)} for name in ("forks", "slow")
    )
    items.sort(key=lambda item: (item.path not in forks, item.path not in slow))


def pytest_collection_finish() -> None:
    """Leave what was imported, a million objects that stay, out of every search for cycles; and
    have models draw their weights in little time."""
    from families.drawing import draw_from_pools  # not above: it imports torch

    draw_from_pools()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Before the fixtures of each test: whatever is drawn without a generator, as colours are by
    detectron2, is the same in every run and every order of the tests; and so are denormal numbers,
    which a test that sets up a training leaves flushed."""
    import numpy as np
    import torch  # not above: its threads are counted from the environment, which this file sets

    _drop_closed_streams()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    torch.set_flush_denormal(False)


def _drop_closed_streams() -> None:
    """Take the handlers off all loggers that write into what pytest captured for another test."""
    import logging

    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    for logger in (logging.root, *loggers):
        for handler in list(logger.handlers):
            if getattr(getattr(handler, "stream", None), "closed", False):
                logger.removeHandler(handler)


@pytest.fixture(scope="session")
def repo_dir() -> Path:
    return _REPO


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with the golden outputs and the pieces of real data; the test skips without it."""
    folder = Path(os.environ.get("D2SEG_SHARED", _REPO.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no shared test data at {folder}")
    return folder


@pytest.fixture(scope="session")
def few_shapes() -> None:
    """The data set "shapes", in the folder of the tests: few of its pictures to train on, as making
    the thousand takes half a minute, and all to score on."""
    from iopath.common.file_io import file_lock

    from families.few_shapes import make_few_shapes

    folder = Path(os.environ["DETECTRON2_DATASETS"])
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(str(folder / "few_shapes")):  # one of the processes that share the tests
        make_few_shapes(folder / "shapes", train=20, val=100)
