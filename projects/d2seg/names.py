"""Names that come from files and folders: how they are shown, and where they may lead."""

import logging
import os
import sys
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

_MAX_OUTPUT, _MAX_PATH = 250, 1000  # bytes of a name without .json, characters of a path
_MAX_STEM = 230  # bytes of an output's name, which with number and suffix may have 255


def printable(text: object) -> str:
    """``text`` in one line that no terminal takes for a command: line ends, escape codes, marks of
    direction and bytes that are no text are written as Python escapes them."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )


class OneLine(logging.Formatter):
    """Logs each message in one line, as :func:`printable` has it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))


def shortened(stem: str) -> str:
    """What a file that is made may have of the stem of another one, with number and suffix."""
    return os.fsencode(stem)[:_MAX_STEM].decode(sys.getfilesystemencoding(), "ignore")


def holdable(stem: str, place: int) -> str:
    """``stem``, a path of an output without its ending; where no file can be called so, a shorter
    one, which ``place``, from 0, tells from others."""
    parts = stem.split("/")
    longest = max(len(os.fsencode(part)) for part in parts)
    if longest <= _MAX_OUTPUT and len(stem) <= _MAX_PATH:
        return stem
    parts = parts if len(stem) <= _MAX_PATH else parts[-1:]
    return f"{'/'.join(map(shortened, parts))}-{place + 1}"


def composed(name: str) -> str:
    """``name`` without spaces at its ends, its letters composed in one of the ways that Unicode has
    and that look the same."""
    return unicodedata.normalize("NFC", name).strip()


def alike(name: str) -> str:
    """``name`` as names of classes and files are compared: :func:`composed`, without case."""
    return composed(name).casefold()


def meant_file(path: str) -> str:
    """The file that is meant by the path of one that is not there: it differs in the kind of
    slashes, in case, in spaces at the ends, in %20 for a space, in the extension, or has folders
    too many; "" where there is none."""
    folder, name = os.path.split(path.replace("\\", "/"))
    try:
        while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
            folder = os.path.dirname(folder)
        there = _names_in(folder or ".", os.stat(folder or ".").st_mtime_ns)
    except (OSError, ValueError):
        return ""
    for form, names in zip(_FORMS, there, strict=True):
        found = names.get(form(name), ())
        files = [file for n in found if os.path.isfile(file := os.path.join(folder, n))]
        if files:
            return files[0] if len(files) == 1 else ""
    return ""


_FORMS: tuple[Callable[[str], str], ...] = (  # of a name, in which it may be another one
    alike,
    lambda name: alike(unquote(name)),
    lambda name: alike(os.path.splitext(name)[0]),
)


@lru_cache(maxsize=8)  # all files of a folder may be missing
def _names_in(folder: str, changed: int) -> tuple[dict[str, list[str]], ...]:
    """The names in a folder, by each of their forms; ``changed`` is when it was, the last time."""
    there: tuple[dict[str, list[str]], ...] = tuple({} for _ in _FORMS)
    for name in os.listdir(folder):
        for form, names in zip(_FORMS, there, strict=True):
            names.setdefault(form(name), []).append(name)
    return there


def path_inside(folder: str | Path, name: str, what: str = "name") -> Path:
    """The path of ``name`` below ``folder``, for something to be written there.

    Args:
        name: with or without folders of its own
        what: it is, for the message

    Raises:
        ValueError: it is empty, an absolute path or has a part "..", and so leads elsewhere.
    """
    parts = Path(name).parts
    if not parts or ".." in parts or Path(name).is_absolute() or "\0" in name:
        raise ValueError(
            f"the {what} {name!r} leads out of the folder {folder}, where it would be written; "
            "correct it"
        )
    return Path(folder) / name


def expand_user(path: str) -> str:
    """``path`` with the home folder for a ``~`` at its beginning.

    Raises:
        ValueError: there is no user of the name behind the ``~``; a folder that is called so would
            be taken for a home.
    """
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        user = Path(expanded).parts[0]
        raise ValueError(
            f"there is no home folder {user}; a folder of that name is written ./{user}"
        )
    return expanded
