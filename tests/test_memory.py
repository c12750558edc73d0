"""d2seg's import settles how memory is asked for, before torch's first allocation."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SCRIPT = """
import resource
import sys

import d2seg
import torch

num_tensors, num_numbers = map(int, sys.argv[1:])
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(num_tensors):
    torch.zeros(num_numbers)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(num_tensors: int, num_numbers: int, **environment: str) -> int:
    """Of fp32 tensors, one after the other."""
    rest = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("THP_", "MALLOC_", "GLIBC_"))
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(num_tensors), str(num_numbers)],
        capture_output=True,
        text=True,
        check=True,
        env=rest | environment,
    )
    return int(done.stdout)


@pytest.mark.skipif(
    not SETTING.is_file() or "[madvise]" not in SETTING.read_text(),
    reason="needs a Linux that gives huge pages to who asks for them",
)
def test_large_tensors_come_in_huge_pages() -> None:
    # 200 MB are 100 huge pages, or 50,000 pages of 4 KiB
    assert page_faults(1, 50_000_000) < 10_000
    assert page_faults(1, 50_000_000, THP_MEM_ALLOC_ENABLE="0") > 40_000  # the user's word counts


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that keeps the memory")
@pytest.mark.parametrize(
    ("users_word", "keeps"),
    [
        ({}, True),
        ({"MALLOC_MMAP_THRESHOLD_": "131072"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}, False),
    ],
)
def test_freed_memory_serves_the_next_tensor(users_word: dict[str, str], keeps: bool) -> None:
    # ten tensors of 20 MB are 50,000 pages of 4 KiB, or 5,000 ten times
    faults = page_faults(10, 5_000_000, THP_MEM_ALLOC_ENABLE="0", **users_word)
    assert (faults < 10_000) if keeps else (faults > 40_000)
