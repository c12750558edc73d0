"""Two processes on this machine's CPU, whatever else it has, for all tests that need them."""

import atexit
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from datetime import timedelta
from functools import cache
from typing import Any

import torch.distributed as dist
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm

from .programs import server_context

_LIMIT = timedelta(seconds=300)  # for one to wait for the other


def run_in_two_processes(function: Callable, *args: object) -> list[Any]:
    """What ``function(*args)`` returns in each of two gloo processes, by rank.

    The processes are forked from the server of ``families.programs`` and stay for the next call.
    They forget the data sets that a call registers.

    Raises:
        Exception: what ``function`` raised in one of them.
    """
    try:
        return _call(function, args)
    except BrokenProcessPool:  # a test of signals or of lost processes has ended them meanwhile
        _end_pool()
        return _call(function, args)


def _call(function: Callable, args: tuple) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        # each waits for the other to join, so that no process takes both calls
        calls = [_pool().submit(_run, rank, folder, function, args) for rank in range(2)]
        done, _ = wait(calls, return_when=FIRST_EXCEPTION)
        if any(call.exception() for call in done):
            _end_pool()  # the other one waits for what will not come
        return [call.result() for call in calls if call in done]


@cache
def _pool() -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(2, server_context(), _take_environment, (dict(os.environ),))
    for each in [pool.submit(int) for _ in range(2)]:
        each.result()
    atexit.register(_end_pool)
    return pool


def _take_environment(environment: dict[str, str]) -> None:
    """That of the tests in the place of the server's, and no GPU."""
    os.environ.clear()
    os.environ.update(environment, CUDA_VISIBLE_DEVICES="")


def _end_pool() -> None:
    pool = _pool()
    _pool.cache_clear()
    atexit.unregister(_end_pool)
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool.shutdown(cancel_futures=True)


def _run(rank: int, folder: str, function: Callable, args: tuple) -> Any:
    known = set(DatasetCatalog)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, timeout=_LIMIT, rank=rank, world_size=2)
    comm.create_local_process_group(2)
    try:
        return function(*args)
    finally:
        comm._LOCAL_PROCESS_GROUP = None
        comm._get_global_gloo_group.cache_clear()
        dist.destroy_process_group()
        for name in set(DatasetCatalog) - known:
            DatasetCatalog.remove(name)
            MetadataCatalog.pop(name, None)
