"""The names of many pictures, of a folder or of a list, in few bytes each.

A source of rows has ``len``, ``rows(start, stop)``, ``fingerprint`` and ``base``.
"""

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...names import holdable
from ...pictures import refuse_special_file
from ...visualization.media import IMAGE_SUFFIXES

Row = dict[str, Any]
NOT_UTF8 = "its name is not UTF-8; rename it"
_MOST_CHECKED = 100  # files of a list, of which one at least has to be there


class Names:
    """A sequence of strings, in one block of bytes; those that are no UTF-8 come back as
    ``os.fsdecode`` has them."""

    def __init__(self, names: Iterable[str]) -> None:
        block, self._ends = bytearray(), array("q", [0])
        for name in names:
            block += name.encode("utf-8", "surrogateescape")
            self._ends.append(len(block))
        self._block = bytes(block)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, place: int) -> str:
        name = self._block[self._ends[place] : self._ends[place + 1]]
        return name.decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def hold(self, part: str) -> bool:
        """Whether one of them, or two in a row, has ``part`` in it."""
        return part.encode() in self._block

    def fingerprint(self) -> str:
        """Of the names and their order."""
        return hashlib.sha256(bytes(self._ends) + self._block).hexdigest()


class NamedPictures:
    """Pictures in or below one folder.

    A picture's ``id`` is the number that its stem is, where all stems are different numbers, as in
    COCO; else its place, from 1. Its ``stem`` is what its results are named by: its name without
    the ending, or with it where several names differ in nothing else.
    """

    def __init__(self, base: str, names: Names) -> None:
        """
        Args:
            base: the folder; "" for addresses.
            names: paths in it, with "/".
        """
        self.base = base
        self.names = names
        self._repeated = repeated(map(_stem, names), len(names))
        self._is_numbered = self._are_numbers()

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, start: int, stop: int) -> Iterator[Row]:
        """Rows ``start`` to ``stop``: ``id``, ``name``, ``stem``, ``path``, and an ``error`` for a
        name that no file of results can hold."""
        for place in range(start, stop):
            name = self.names[place]
            stem = _stem(name)
            number = int(os.path.basename(stem)) if self._is_numbered else place + 1
            row = {
                "id": number,
                "name": name,
                "stem": holdable(name if hash(stem) in self._repeated else stem, place),
                "path": os.path.join(self.base, name),
            }
            if not _is_utf8(name):
                readable = os.fsencode(name).decode("utf-8", "backslashreplace")
                row |= {"name": readable, "stem": readable, "error": NOT_UTF8}
            yield row

    def fingerprint(self) -> str:
        """Of names and order."""
        return self.names.fingerprint()

    def _are_numbers(self) -> bool:
        numbers = array("q")
        for name in self.names:
            text = os.path.basename(_stem(name))
            if not (text.isascii() and text.isdigit() and len(text) <= 18):
                return False
            numbers.append(int(text))
        return len(np.unique(np.frombuffer(numbers, np.int64))) == len(numbers)


def repeated(names: Iterable[str], count: int) -> set[int]:
    """The hashes of those of ``count`` names that come more than once."""
    hashes = np.fromiter(map(hash, names), np.int64, count)
    hashes.sort()
    return set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())


def read_folder(folder: Path) -> NamedPictures:
    """The pictures in a folder and the folders in it, in the order of their names.

    Raises:
        ValueError: there is none, or the folder cannot be read.
    """
    try:
        names = Names(_walk(str(folder), "", set()))
    except OSError as error:
        raise ValueError(f"--input {folder} cannot be read: {error}") from error
    if not len(names):
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise ValueError(f"--input {folder} has no picture in it or below it ({endings})")
    return NamedPictures(str(folder.absolute()), names)


def _walk(folder: str, prefix: str, above: set[tuple[int, int]]) -> Iterator[str]:
    """Names below ``folder``; a link to a folder that it lies in is not followed."""
    status = os.stat(folder)
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    with os.scandir(folder) as found:
        kinds = [(entry.name, _is_folder(entry)) for entry in found if _is_wanted(entry)]
    kinds.sort()
    for name, is_folder in kinds:
        if is_folder:
            yield from _walk(os.path.join(folder, name), f"{prefix}{name}/", above | {here})
        else:
            yield prefix + name


def _is_wanted(entry: os.DirEntry) -> bool:
    # what is hidden is no picture of the user's: thumbnails, a Mac's "._a.jpg", half copies
    if entry.name.startswith("."):
        return False
    return _is_folder(entry) or os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle, which are reported as a picture that cannot be read
        return False


def read_list(path: Path) -> NamedPictures:
    """The pictures that a text file names, one in a line; relative ones lie beside the file.

    Raises:
        ValueError: it is not UTF-8, names one twice or none, or none of the first ones is there;
            the line is given.
    """
    base = str(path.absolute().parent)
    lines = Names(_lines(path))
    if not len(lines):
        raise ValueError(f"--input {path} names no picture; write one path in each line")
    if lines.hold("://"):
        _refuse_repeated(path, lines, lines)
        return NamedPictures("", lines)
    first = [os.path.join(base, lines[i]) for i in range(min(len(lines), _MOST_CHECKED))]
    if not any(map(os.path.exists, first)):
        raise ValueError(
            f"--input {path}: there is no {first[0]}, nor any other of its first {len(first)}; "
            "relative paths are meant from the folder of the list"
        )
    whole = Names(os.path.normpath(os.path.join(base, line)) for line in lines)
    _refuse_repeated(path, lines, whole)
    root = _common_folder(whole)
    start = len(root.rstrip("/")) + 1
    return NamedPictures(root, Names(name[start:] for name in whole))


def _common_folder(paths: Iterable[str]) -> str:
    """The deepest folder that all absolute paths lie in."""
    first = last = ""
    for path in paths:
        folder = f"{os.path.dirname(path)}/"
        first, last = min(first or folder, folder), max(last, folder)
    return os.path.commonpath([first, last])  # what sorts between them begins as they do


def _lines(path: Path) -> Iterator[str]:
    try:
        refuse_special_file(path)
    except ValueError as error:
        raise ValueError(f"--input {path}: {error}") from error
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"--input {path}, line {number} is not UTF-8; save the list as UTF-8"
                ) from error
            if "\0" in text:
                raise ValueError(f"--input {path}, line {number} is no path; give a text file")
            if text.strip():
                yield text


def _refuse_repeated(path: Path, lines: Names, pictures: Names) -> None:
    """pictures: that the lines stand for."""
    hashes = np.fromiter(map(hash, pictures), np.int64, len(pictures))
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    if len(same):
        earlier, later = (lines[order[same[0] + i]] for i in (0, 1))
        more = f" and {len(same) - 1} more" if len(same) > 1 else ""
        raise ValueError(
            f"--input {path} names a picture twice: {earlier}, {later}{more}; list each once "
            "(sort -u does)"
        )


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
