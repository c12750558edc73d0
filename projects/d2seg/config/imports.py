"""Modules of a user, imported for what they register with this project and detectron2."""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence


def import_modules(names: Sequence[str], asked_by: str = "--import") -> None:
    """Import modules of the current folder or the environment; one that is there already stays.

    Args:
        names: as in Python, "package.module".
        asked_by: what the user has named them with, for messages.

    Raises:
        ValueError: there is no such module, or it fails or ends the program; the message says
            where.
    """
    folder = os.getcwd()
    if names and folder not in sys.path:  # a console script does not look there
        sys.path.insert(0, folder)
    for name in names:
        _import(name, f"{asked_by} {name}", folder)


def _import(name: str, what: str, folder: str) -> None:
    if (
        not isinstance(name, str)
        or name.endswith(".py")  # would run the module, then look for "py" in it
        or not all(part.isidentifier() for part in name.split("."))
    ):
        raise ValueError(
            f"{what}: {name!r} is no name of a module; give it as in Python, with dots and without "
            ".py"
        )
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(what, error, folder) from error
        raise ValueError(
            f"{what}: there is no module '{error.name}' in {folder} or the environment"
        ) from error
    except (Exception, SystemExit) as error:  # a user's module can raise anything
        raise _failed(what, error, folder) from error
    if getattr(module, "__file__", None) is None and hasattr(module, "__path__"):
        raise ValueError(
            f"{what}: {next(iter(module.__path__))} is a folder without __init__.py, so nothing in "
            "it is run; name a module in it"
        )


def _failed(what: str, error: BaseException, folder: str) -> ValueError:
    if isinstance(error, SyntaxError):
        place = f"{error.filename}:{error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename.startswith(os.path.join(folder, ""))]
        last = (own or frames)[-1]  # rather the user's line than one of a library below it
        place = f"{last.filename}:{last.lineno}"
    reason = " ".join(str(error).split())
    if isinstance(error, SystemExit):
        return ValueError(
            f"{what} ends the program, sys.exit({reason}) ({place}); put what runs it as a script "
            'under if __name__ == "__main__":'
        )
    return ValueError(f"{what} fails with {type(error).__name__}: {reason} ({place})")
