"""Runs that are killed inside a save end, resumed, with the weights of the uninterrupted one."""

from pathlib import Path

import pytest

from faults.try_faults import kill_in_save, killed_runs

pytestmark = pytest.mark.forks


def test_killed_inside_a_save(tmp_path: Path) -> None:
    """In the first save, before there is any checkpoint, and in the third."""
    assert killed_runs(tmp_path, 2, lambda number: kill_in_save(1 + 2 * number)) == (2, 2)
