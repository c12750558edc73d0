"""What a word of the command says when it cannot do its work."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from ..names import OneLine, expand_user, printable

MISTAKE = 2  # the exit code
_LONGEST = 255  # bytes of a name


def report_mistake(error: Exception) -> int:
    """Write the message in one line to stderr; return the exit code."""
    sys.stderr.write(f"error: {printable(error)}\n")
    return MISTAKE


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, and shows a description as it is written."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        self.exit(MISTAKE, f"{self.prog}: error: {printable(message)}\n")


def user_path(text: str) -> Path:
    """A path of the command line, its ``~`` replaced; a type of argparse's.

    Raises:
        argparse.ArgumentTypeError: it is empty, as of a variable that is not set, or an address, or
            has too long a name; or as ``expand_user``. argparse shows the message.
    """
    if not text.strip():  # pathlib takes it for the current folder
        raise argparse.ArgumentTypeError("the path is empty; name one")
    if "://" in text:  # pathlib would take it for folders
        raise argparse.ArgumentTypeError(f"{text} is an address; name a path of this machine")
    if any(len(os.fsencode(part)) > _LONGEST for part in text.split("/")):
        raise argparse.ArgumentTypeError(f"a name in {text} has more than {_LONGEST} bytes")
    try:
        return Path(expand_user(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def show_warnings(form: str = "%(message)s") -> None:
    """Let warnings of the package stand on stderr, each in one line that can be shown."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(form))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
