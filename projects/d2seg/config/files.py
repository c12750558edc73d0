"""Config files: found by path or by a name of the model zoos, and read as data."""

import contextlib
import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from detectron2 import model_zoo
from detectron2.config import CfgNode

from ..checkpoint.nesting import check_nesting
from ..checkpoint.plain_yaml import check_keys, check_merges, reason_of
from ..checkpoint.shown import brief
from .zoo import find_config, is_zoo_like, nearest, normalise, read_table

TRUST_VARIABLE = "D2SEG_TRUST_CONFIGS"  # set to 1: configs may run code, as detectron2's may
MAX_VALUES = 100_000  # of a file, aliases written out
_MAX_BYTES = 1_000_000  # of a file, which take half a minute
_MAX_FILES = 200  # of a config with all bases
_FILE_FORM = "expected lines 'KEY: value', and after _BASE_ one file name or a list of them"


def find_file(name: str) -> tuple[Path, str]:
    """The file that ``name`` means, and the zoo that it is of: "d2seg", "detectron2" or none."""
    path = Path(os.path.expanduser(name))
    if path.is_dir():  # the current one for an empty name
        raise ValueError(f"config '{name}' is a folder; give a file in it, or a name of the zoo")
    if path.suffix == ".py":
        raise ValueError(
            f"config file '{name}': detectron2's lazy (.py) configs are not supported; "
            "give a .yaml config"
        )
    if path.is_file():
        return path, ""
    own = find_config(name)
    if own is not None:
        return own, "d2seg"
    if not path.is_absolute() and ".." not in path.parts:
        try:
            in_zoo = Path(model_zoo.get_config_file(name))
        except RuntimeError:  # not there
            pass
        else:
            if in_zoo.is_file():
                return in_zoo, "detectron2"
    if is_zoo_like(name):
        raise ValueError(
            f"there is no config '{name}', neither as a file nor in the model zoo; the nearest "
            f"names are {', '.join(nearest(name))}"
        )
    raise ValueError(
        f"config file '{name}' does not exist (looked for {path.absolute()}, in d2seg's and in "
        f"detectron2's model zoo){_near(path, zoo=True)}"
    )


def read_tree(path: Path) -> dict[str, Any]:
    """The nested dicts of a YAML file over those of its ``_BASE_``.

    Raises:
        ValueError: a file is missing, no YAML, its own base, or has a key twice or a ``!!python``
            tag.
    """
    if not path.is_file():
        raise ValueError(f"there is no config file {path.absolute()}")
    return type("_OneReading", (_ConfigFile,), {}).load_yaml_with_base(str(path))


def own_keys(name: str | Path | None) -> set[str]:
    """The full keys that a config file says itself, without those of its ``_BASE_``.

    None of a file that was written from a whole config, as ``OUTPUT_DIR/config.yaml``: it has every
    key, whoever set it.

    Args:
        name: of a file that has been read, as ``load_config`` takes it.
    """
    if name is None:
        return set()
    text = find_file(str(name))[0].read_text(encoding="utf-8")
    # without a type for its values, so that tags mean nothing
    keys = {key for key, _ in leaves(yaml.load(text, yaml.BaseLoader))}
    return keys if "_BASE_" in keys else set()


def leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Full keys ("SOLVER.BASE_LR") and values of nested dicts; an empty dict has none."""
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            found += leaves(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


class _FileError(ValueError):
    """Says which file is at fault."""


@contextlib.contextmanager
def _in_file(filename: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise _FileError(f"{filename}: {error}") from error


class _ConfigFile(CfgNode):
    """Reads YAML with ``_BASE_`` as its parent does, and says which file is at fault. For one
    reading: ``open_files`` are those whose bases are being read, ``num_files`` all of them."""

    open_files: tuple[Path, ...] = ()
    num_files = 0

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict[str, Any]:
        """``allow_unsafe`` is not asked: each file is trusted, or not, for itself."""
        path = _resolved(filename)
        if path in cls.open_files:
            raise _FileError(f"{filename}: its _BASE_ files include each other in a circle")
        cls.num_files += 1
        if cls.num_files > _MAX_FILES:
            raise _FileError(
                f"{filename}: more than {_MAX_FILES} _BASE_ files are to be read, each as often as "
                "it is named; name fewer"
            )
        cls.open_files += (path,)
        trusted = os.environ.get(TRUST_VARIABLE) == "1" or _is_in_zoo(Path(filename))
        try:
            text = path.read_text(encoding="utf-8")
            with _in_file(filename):
                check_merges(text, MAX_VALUES)
                check_keys(text)
            content = super().load_yaml_with_base(filename, allow_unsafe=trusted)
        except _FileError:  # of a base
            raise
        except FileNotFoundError as error:
            raise _FileError(
                f"{filename}: its _BASE_ '{brief(error)}' does not exist{_near(Path(str(error)))}"
            ) from error
        except yaml.constructor.ConstructorError as error:
            if "tag:yaml.org,2002:python/" not in str(error):
                raise _FileError(f"{filename}: {' '.join(str(error).split())}") from error
            line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
            raise _FileError(
                f"{filename}{line}: a !!python tag could run code, so it is refused; write the "
                f"value out, or, if you wrote the file, set {TRUST_VARIABLE}=1 in the environment"
            ) from error
        except yaml.YAMLError as error:
            raise _FileError(f"{filename}: not valid YAML: {reason_of(error)}") from error
        except UnicodeDecodeError as error:
            raise _FileError(f"{filename}: not a text file") from error
        except (ValueError, KeyError, ArithmeticError) as error:  # of PyYAML, for a single value
            raise _FileError(f"{filename}: not valid YAML: {brief(error)}") from error
        except RecursionError as error:
            raise _FileError(f"{filename}: its values are nested too deep") from error
        except (TypeError, AttributeError) as error:  # an empty document; a _BASE_ of numbers
            raise _FileError(f"{filename}: {_FILE_FORM}") from error
        except AssertionError as error:  # a group of keys in one file, a value in the other
            raise _FileError(f"{filename}: {error}") from error
        if not isinstance(content, dict):
            raise _FileError(f"{filename}: {_FILE_FORM}")
        with _in_file(filename):
            check_nesting(content, MAX_VALUES)
        cls.open_files = cls.open_files[:-1]
        return content


def _resolved(filename: str) -> Path:
    """Raises ``FileNotFoundError`` with the name alone, and ``_FileError`` for a large file."""
    try:
        path = Path(filename).resolve()
        if path.is_file():
            if path.stat().st_size > _MAX_BYTES:
                raise _FileError(f"{filename}: a config has at most {_MAX_BYTES} bytes")
            return path
    except (OSError, RuntimeError):  # a name that is too long; a link in a circle
        pass
    raise FileNotFoundError(filename)


def _zoo_folder() -> Path:
    return Path(model_zoo.get_config_file("Base-RCNN-FPN.yaml")).parent


def _is_in_zoo(path: Path) -> bool:
    """detectron2's own configs are as trusted as its code; some of them evaluate sizes."""
    return path.resolve().is_relative_to(_zoo_folder().resolve())


def _near(path: Path, zoo: bool = False) -> str:
    """'; did you mean ...?' with up to three config files of a like name, or nothing."""
    neighbours = path.parent.glob("*.yaml") if path.parent.is_dir() else ()
    scores = {str(found): _likeness(found.stem, path.stem) for found in neighbours}
    if zoo:
        root = _zoo_folder()
        for found in root.glob("**/*.yaml"):
            name = found.relative_to(root)
            scores[name.as_posix()] = max(
                _likeness(name.with_suffix("").as_posix(), path.with_suffix("").as_posix()),
                _likeness(found.stem, path.stem),
            )
        for own in read_table():
            scores[own] = max(
                _likeness(own, normalise(str(path))), _likeness(own.partition("/")[2], path.stem)
            )
    cutoff = max(0.6, max(scores.values(), default=0.0) - 0.1)
    near = [name for name, score in scores.items() if score >= cutoff]
    near.sort(key=lambda name: (-scores[name], name))
    return f"; did you mean {' or '.join(near[:3])}?" if near else ""


def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()
