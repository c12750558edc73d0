"""Modules of a user, imported for what they register with this project and detectron2."""

import importlib
import os
import sys
import traceback
from collections.abc import Sequence


def import_modules(names: Sequence[str]) -> None:
    """Import modules of the current folder or the environment.

    Raises:
        ValueError: there is no such module, or it fails; the message says where.
    """
    folder = os.getcwd()
    if names and folder not in sys.path:  # a console script does not look there
        sys.path.insert(0, folder)
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise _failed(name, error) from error
            raise ValueError(
                f"--import {name}: there is no module '{error.name}' in {folder} or the "
                "environment; give a name as in Python, without .py"
            ) from error
        except Exception as error:  # a user's module can raise anything
            raise _failed(name, error) from error


def _failed(name: str, error: Exception) -> ValueError:
    place = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, SyntaxError):
        file, line = error.filename, error.lineno
    else:
        file, line = place.filename, place.lineno
    reason = " ".join(str(error).split())
    return ValueError(
        f"--import {name} fails with {type(error).__name__}: {reason} ({file}:{line})"
    )
