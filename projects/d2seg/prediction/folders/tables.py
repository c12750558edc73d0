"""Pictures of a Parquet table: paths, addresses or the files themselves."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ...names import holdable
from ...pictures import refuse_special_file
from .names import repeated

Row = dict[str, Any]
_TEXT = ("string", "large_string")
_KINDS = {"id": ("int", "uint", *_TEXT), "path": _TEXT, "bytes": ("binary", "large_binary")}
_ROWS_AT_ONCE = 64  # of a table that holds the files themselves, which may be large


def import_parquet() -> ModuleType:
    """pyarrow's reader and writer of Parquet.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"Parquet is read with pyarrow ({error}): pip install 'pyarrow>=14,<24'"
        ) from error
    return pyarrow.parquet


class TablePictures:
    """Rows of a Parquet file with a column ``path`` (relative ones lie beside the table; addresses
    are what detectron2's PathManager knows) or ``bytes`` (the file), and perhaps ``id``, of numbers
    or text; else the place counts, from 1. Results are named by the id, or without one by the path
    without its ending; with it where several would be called so, and with the place behind it where
    they still are, as ``a/b.jpg`` and ``a/./b.jpg``.
    """

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ValueError: the file is no Parquet, lacks the columns, has no row, or repeats an id.
            ImportError: pyarrow is missing.
        """
        parquet = import_parquet()
        try:
            refuse_special_file(path)
            self._file = parquet.ParquetFile(path)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"--input {path} is no Parquet file: {reason}") from error
        columns = self._file.schema_arrow.names
        if "path" not in columns and "bytes" not in columns:
            raise ValueError(
                f"--input {path} has the columns {', '.join(columns)}; one of path or bytes is "
                "needed"
            )
        self._check_kinds(path)
        if not self._file.metadata.num_rows:
            raise ValueError(f"--input {path} has no row")
        self._path = path
        self.base = str(path.absolute().parent)
        self._columns = [name for name in ("id", "path", "bytes") if name in columns]
        groups = range(self._file.num_row_groups)
        sizes = [self._file.metadata.row_group(group).num_rows for group in groups]
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        named_by = "id" if "id" in columns else "path"
        self._refuse_repeated(named_by)
        self._endings_count = named_by == "id"
        self._taken = [
            repeated((form(name) for name in self._names(named_by)), len(self))
            for form in (self._stem, _safe)
        ]

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        """Rows ``start`` to ``stop``, of which only the groups that hold them are read."""
        first = int(np.searchsorted(self._starts, start, "right")) - 1
        last = int(np.searchsorted(self._starts, stop, "left"))
        place = int(self._starts[first])
        for batch in self._file.iter_batches(
            _ROWS_AT_ONCE, row_groups=list(range(first, last)), columns=self._columns
        ):
            if place >= stop:
                return
            if place + len(batch) > start:
                kept = batch.slice(max(0, start - place), stop - max(start, place))
                for offset, row in enumerate(kept.to_pylist()):
                    yield self._row(row, max(start, place) + offset)
            place += len(batch)

    def _row(self, row: Row, place: int) -> Row:
        number = row.get("id")
        number = place + 1 if number is None else number
        row = {"id": number, **{k: v for k, v in row.items() if k != "id" and v is not None}}
        path = row.get("path")
        if path is None and "bytes" not in row:
            stem = self._own_stem(str(number), place)
            return {**row, "name": str(number), "stem": stem, "error": "no path"}
        name = str(number) if path is None else path
        stem = self._own_stem(str(number) if self._endings_count else name, place)
        if path is not None and "://" not in path:
            row["path"] = os.path.join(self.base, path)
        return {**row, "name": name, "stem": stem}

    def _stem(self, name: str) -> str:
        return _safe(name if self._endings_count else os.path.splitext(name)[0])

    def _own_stem(self, name: str, place: int) -> str:
        """What the results of a row are named by, and those of no other row."""
        for stem, taken in zip((self._stem(name), _safe(name)), self._taken, strict=True):
            if stem and hash(stem) not in taken:
                return holdable(stem, place)
        return holdable(f"{_safe(name)}-{place + 1}".lstrip("-"), place)

    def fingerprint(self) -> str:
        """Of the ids and paths, or of the file where these are not its content."""
        digest = hashlib.sha256()
        columns = [name for name in self._columns if name != "bytes"]
        if not columns:
            digest.update(str(os.path.getsize(self._path)).encode())
        for batch in self._file.iter_batches(columns=columns) if columns else ():
            digest.update("".join(f"{row!r}\n" for row in batch.to_pylist()).encode())
        return digest.hexdigest()

    def _check_kinds(self, path: Path) -> None:
        for field in self._file.schema_arrow:
            kinds = _KINDS.get(field.name)
            if kinds and not str(field.type).startswith(kinds):
                raise ValueError(
                    f"--input {path}: its column {field.name} is of {field.type}; it needs "
                    f"{' or '.join(kinds)}"
                )

    def _refuse_repeated(self, column: str) -> None:
        if column not in self._columns:
            return
        hashes = np.fromiter(map(hash, self._values(column)), np.int64, len(self))
        hashes.sort()
        if count := np.count_nonzero(hashes[1:] == hashes[:-1]):
            raise ValueError(
                f"--input {self._path} has {count} rows whose {column} an earlier row has; "
                "each needs its own"
            )

    def _values(self, column: str) -> Iterator[Any]:
        for batch in self._file.iter_batches(columns=[column]):
            yield from batch.column(0).to_pylist()

    def _names(self, column: str) -> Iterator[str]:
        """What rows are named by; their places, where they have nothing else."""
        values = self._values(column) if column in self._columns else [None] * len(self)
        for place, value in enumerate(values):
            yield str(place + 1) if value is None else str(value)


def _safe(stem: str) -> str:
    """A relative path that stays in its folder."""
    parts: Sequence[str] = stem.replace("\0", "").split("://")[-1].split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))
