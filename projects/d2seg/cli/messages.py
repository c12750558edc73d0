"""What a word of the command says when it cannot do its work."""

import argparse
import sys
from typing import Any, NoReturn

MISTAKE = 2  # the exit code


def report_mistake(error: Exception) -> int:
    """Write the message in one line to stderr; return the exit code."""
    sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
    return MISTAKE


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, and shows a description as it is written."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(**settings)

    def error(self, message: str) -> NoReturn:
        self.exit(MISTAKE, f"{self.prog}: error: {message}\n")
