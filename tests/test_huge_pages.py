"""d2seg's import makes torch ask for huge pages, before its first allocation."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SCRIPT = """
import resource

import d2seg
import torch

before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.zeros(50_000_000)  # 200 MB: 100 huge pages, or 50,000 pages of 4 KiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(**environment: str) -> int:
    rest = {key: value for key, value in os.environ.items() if key != "THP_MEM_ALLOC_ENABLE"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
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
    assert page_faults() < 10_000
    assert page_faults(THP_MEM_ALLOC_ENABLE="0") > 40_000  # the user's word counts
