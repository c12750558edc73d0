"""The parts of a prediction over folders: each a tar file that is complete or absent.

Part p of a run holds the rows ``p * size`` to ``(p + 1) * size``. For each picture that was
predicted it has ``NUMBER.json`` (the row, with ``result`` in it) and, where the task has a map,
``NUMBER.png``; NUMBER is the row's place in the run, so the WebDataset library reads parts as they
are. Pictures that failed are in a CSV file beside it.
"""

import csv
import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...checkpoint.files import write_atomically

Row = dict[str, Any]
PARTS = "parts"
FAILED_FIELDS = ("id", "name", "reason")
_KEPT = ("id", "name", "stem", "height", "width")


@dataclass(frozen=True)
class Record:
    """What the model found in one picture.

    id, name, stem: see ``names.py``. result, png: see ``prediction/encoding.py``, with
    ``result`` decoded.
    """

    id: int | str
    name: str
    stem: str
    height: int
    width: int
    result: dict[str, Any]
    png: bytes


class Parts:
    """The parts of a run in its folder."""

    def __init__(self, output: Path, num_rows: int, size: int) -> None:
        self.folder = output / PARTS
        self.num_rows = num_rows
        self.size = size

    def __len__(self) -> int:
        return -(-self.num_rows // self.size)

    def bounds(self, number: int) -> tuple[int, int]:
        """The rows of a part: the first, and the first of the next."""
        return number * self.size, min((number + 1) * self.size, self.num_rows)

    def path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.tar"

    def failures_path(self, number: int) -> Path:
        return self.folder / f"part-{number:06d}.failed.csv"

    def missing(self) -> list[int]:
        """Numbers of the parts that are not there."""
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        return [number for number in range(len(self)) if self.path(number).name not in there]

    def write(self, number: int, rows: Sequence[Row]) -> None:
        """Write a part, of the rows that ``BatchPredictor`` returned.

        Raises:
            OSError: it cannot be written; nothing of it is there then.
        """
        start, _ = self.bounds(number)
        failed = [row for row in rows if row["error"]]
        self.failures_path(number).unlink(missing_ok=True)  # of a run that was killed just here
        if failed:
            write_atomically(
                str(self.failures_path(number)),
                lambda temporary: write_failures(Path(temporary), map(_failure, failed)),
            )
        write_atomically(
            str(self.path(number)), lambda temporary: _write_tar(temporary, rows, start)
        )

    def records(self) -> Iterator[Record]:
        """Of all parts, in order.

        Raises:
            ValueError: a part is damaged.
        """
        for number in range(len(self)):
            try:
                yield from _read_tar(self.path(number))
            except (tarfile.TarError, EOFError, KeyError, ValueError, TypeError) as error:
                raise ValueError(
                    f"{self.path(number)} is damaged ({error}); delete it and predict again, which "
                    "makes that part alone"
                ) from error

    def num_failures(self, number: int) -> int:
        """How many pictures of a part failed."""
        path = self.failures_path(number)
        return len(_read_failures(path)) if path.exists() else 0

    def failures(self) -> Iterator[tuple[str, ...]]:
        """(id, name, reason) of all pictures that failed, in order."""
        for number in range(len(self)):
            path = self.failures_path(number)
            if path.exists():
                yield from _read_failures(path)


def _read_failures(path: Path) -> list[tuple[str, ...]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(map(tuple, csv.reader(file)))[1:]


def write_failures(path: Path, failures: Iterator[tuple[str, ...]]) -> int:
    """Write a CSV file with a line for each picture that failed; return how many there are."""
    number = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FAILED_FIELDS)
        for number, failure in enumerate(failures, 1):  # noqa: B007
            writer.writerow(failure)
    return number


def _failure(row: Row) -> tuple[str, str, str]:
    return str(row["id"]), row["name"], row["error"]


def _write_tar(path: str, rows: Sequence[Row], start: int) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for place, row in enumerate(rows, start):
            if row["error"]:
                continue
            head = json.dumps({key: row[key] for key in _KEPT}, separators=(",", ":"))
            text = f'{head[:-1]},"result":{row["result"]}}}'
            _add(tar, f"{place:012d}.json", text.encode())
            if row["png"]:
                _add(tar, f"{place:012d}.png", row["png"])


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """An entry without a time, so that equal results are equal files."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _read_tar(path: Path) -> Iterator[Record]:
    with tarfile.open(path, "r:") as tar:
        row: Row | None = None
        for entry in tar:
            content = tar.extractfile(entry).read()
            if entry.name.endswith(".png"):
                row["png"] = content
                continue
            if row is not None:
                yield Record(**row)
            row = {**json.loads(content), "png": b""}
        if row is not None:
            yield Record(**row)
