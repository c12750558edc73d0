"""Folders of runs that were damaged, and disks that fill up: the run ends as the uninterrupted one."""

from pathlib import Path

from faults.try_faults import damaged_folders


def test_damaged_folders_and_full_disks(tmp_path: Path, capsys) -> None:
    rows = list(damaged_folders(tmp_path, every=3))  # of what the script tries
    assert [what for what, tried, held in rows if tried != held] == [], capsys.readouterr().err
    assert [tried > 3 for _, tried, _ in rows] == [True, True]
