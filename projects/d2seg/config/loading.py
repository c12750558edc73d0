"""Loading of a config file and ``KEY VALUE`` pairs into a complete ``CfgNode``.

Accepts what detectron2's ``CfgNode.merge_from_file`` and ``merge_from_list`` accept, and besides an
integer where a float is asked for and a bare number where a string is. What a user got wrong ends
in one ``ValueError`` that names file, key and remedy.
"""

import difflib
import logging
import os
from ast import literal_eval
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from detectron2 import model_zoo
from detectron2.config import CfgNode, get_cfg

from ..checkpoint.nesting import check_nesting
from .defaults import add_d2seg_config, set_semantic_output

logger = logging.getLogger(__name__)

TRUST_VARIABLE = "D2SEG_TRUST_CONFIGS"  # set to 1: configs may run code, as detectron2's may
_MAX_VALUES = 100_000  # of a file, aliases written out
_FILE_FORM = "expected lines 'KEY: value', and after _BASE_ one file name or a list of them"


def load_config(
    config_file: str | None, opts: Sequence[str] | None = (), *, labels: bool = False
) -> CfgNode:
    """Defaults of detectron2 and d2seg, overridden by a file, overridden by pairs.

    Args:
        config_file: a YAML file, whose ``_BASE_`` (one name or a list, relative to the file that
            says it) is merged first, the later over the earlier; or the name of a config of
            detectron2's model zoo, as ``COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml``,
            whose published checkpoint then becomes MODEL.WEIGHTS; None: the defaults alone.
            ``!!python`` tags, which detectron2's reader evaluates, could run code: they are refused
            outside of the model zoo unless TRUST_VARIABLE is set in the environment.
        opts: KEY VALUE KEY VALUE ..., the values in Python's notation.
        labels: semantic results are labels (H, W) where neither file nor pairs ask for scores.
            Every model's default are scores (K, H, W), as detectron2's evaluator takes them; this
            project's scripts ask for labels, in a fraction of the memory and time.

    Returns:
        The config, not frozen.

    Raises:
        ValueError: a file that is missing, not YAML or not for this version; an unknown key; a
            value of the wrong type; a key without a value.
    """
    cfg = get_cfg()
    add_d2seg_config(cfg)
    if labels:
        set_semantic_output(cfg, "labels")
    if config_file is not None:
        path, in_zoo = _find_config(config_file)
        _merge_file(cfg, path)
        if in_zoo:
            _use_zoo_weights(cfg, config_file)
    _merge_pairs(cfg, list(opts or ()))
    return cfg


def use_words_of_checkpoint(cfg: CfgNode) -> None:
    """Prepare ``cfg``, in place, for a model whose words and word vectors come from its checkpoint:
    the files that the training took them from may no longer exist."""
    text = cfg.MODEL.RESTR.TEXT
    text.WORD_VECTORS = ""
    if text.VOCABULARY and not Path(text.VOCABULARY).is_file():
        logger.info("There is no %s; the words are those of the checkpoint", text.VOCABULARY)
        text.VOCABULARY = ""


class _ConfigFile(CfgNode):
    """Reads YAML with ``_BASE_`` as its parent does, and says which file is at fault."""

    @classmethod
    def load_yaml_with_base(cls, filename: str, allow_unsafe: bool = False) -> dict[str, Any]:
        """``allow_unsafe`` is not asked: each file is trusted, or not, for itself."""
        if not Path(filename).is_file():
            raise FileNotFoundError(filename)
        trusted = os.environ.get(TRUST_VARIABLE) == "1" or _is_in_zoo(Path(filename))
        try:
            content = super().load_yaml_with_base(filename, allow_unsafe=trusted)
        except FileNotFoundError as error:
            raise ValueError(
                f"{filename}: its _BASE_ '{error}' does not exist{_near(Path(str(error)))}"
            ) from error
        except yaml.constructor.ConstructorError as error:
            if "tag:yaml.org,2002:python/" not in str(error):
                raise ValueError(f"{filename}: {' '.join(str(error).split())}") from error
            line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
            raise ValueError(
                f"{filename}{line}: a !!python tag could run code, so it is refused; write the "
                f"value out, or, if you wrote the file, set {TRUST_VARIABLE}=1 in the environment"
            ) from error
        except yaml.YAMLError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{filename}: not valid YAML: {reason}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{filename}: not a text file") from error
        except (TypeError, AttributeError) as error:  # an empty document; a _BASE_ of numbers
            raise ValueError(f"{filename}: {_FILE_FORM}") from error
        except AssertionError as error:  # a group of keys in one file, a value in the other
            raise ValueError(f"{filename}: {error}") from error
        if not isinstance(content, dict):
            raise ValueError(f"{filename}: {_FILE_FORM}")
        try:
            check_nesting(content, _MAX_VALUES)
        except ValueError as error:
            raise ValueError(f"{filename}: {error}") from error
        return content


def _find_config(name: str) -> tuple[Path, bool]:
    """The file that ``name`` means, and whether it is one of the model zoo."""
    path = Path(name).expanduser()
    if path.suffix == ".py":
        raise ValueError(
            f"config file '{name}': detectron2's lazy (.py) configs are not supported; "
            "give a .yaml config"
        )
    if path.is_file():
        return path, False
    if not path.is_absolute() and ".." not in path.parts:
        try:
            in_zoo = Path(model_zoo.get_config_file(name))
        except RuntimeError:  # not there
            pass
        else:
            if in_zoo.is_file():
                return in_zoo, True
    raise ValueError(
        f"config file '{name}' does not exist (looked for {path.absolute()} and in detectron2's "
        f"model zoo){_near(path, zoo=True)}"
    )


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
    cutoff = max(0.6, max(scores.values(), default=0.0) - 0.1)
    near = [name for name, score in scores.items() if score >= cutoff]
    near.sort(key=lambda name: (-scores[name], name))
    return f"; did you mean {' or '.join(near[:3])}?" if near else ""


def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()


def _merge_file(cfg: CfgNode, path: Path) -> None:
    try:
        content = _ConfigFile.load_yaml_with_base(str(path))
    except RecursionError as error:
        raise ValueError(f"{path}: its _BASE_ files include each other in a circle") from error
    if content.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise ValueError(
            f"{path}: VERSION is {content['VERSION']}; only configs of version {cfg.VERSION} "
            "are read"
        )
    for key, value in _leaves(content):
        _set(cfg, key, value, f"{path}: ")


def _use_zoo_weights(cfg: CfgNode, name: str) -> None:
    try:
        cfg.MODEL.WEIGHTS = model_zoo.get_checkpoint_url(name)
    except RuntimeError:  # the zoo has configs without a published model
        logger.warning("%s has no checkpoint in the zoo; MODEL.WEIGHTS stays as it says", name)


def _merge_pairs(cfg: CfgNode, opts: list[str]) -> None:
    for key in opts[0::2]:
        if key.startswith("-"):
            raise ValueError(f"unknown option '{key}'; options stand before the first KEY VALUE")
        if "=" in key:
            raise ValueError(f"'{key}': write KEY VALUE with a space, without '='")
    if len(opts) % 2:
        raise ValueError(f"config overrides come as KEY VALUE pairs; '{opts[-1]}' has no value")
    for key, value in zip(opts[0::2], opts[1::2], strict=True):
        _set(cfg, key, value, "")


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Full keys ("SOLVER.BASE_LR") and values of nested dicts; an empty dict has none."""
    leaves = []
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves += _leaves(value, f"{prefix}{key}.")
        else:
            leaves.append((f"{prefix}{key}", value))
    return leaves


def _set(cfg: CfgNode, key: str, value: Any, where: str) -> None:
    """Set one leaf in place; ``where`` opens the message of an error."""
    if cfg.key_is_renamed(key):
        old, key = key, cfg.__dict__[CfgNode.RENAMED_KEYS][key]
        logger.warning("%s%s is called %s now; it is read as that", where, old, key)
    *groups, leaf = key.split(".")
    node: Any = cfg
    for group in groups:
        node = node.get(group) if isinstance(node, CfgNode) else None
    if not isinstance(node, CfgNode) or leaf not in node:
        raise ValueError(f"{where}unknown config key '{key}'; the nearest is {_nearest(cfg, key)}")
    if isinstance(node[leaf], CfgNode):
        inside = ", ".join(f"{key}.{name}" for name in list(node[leaf])[:3])
        raise ValueError(f"{where}{key} is a group of keys ({inside}, ...), not a value")
    node[leaf] = _coerce(node[leaf], value, key, where)


def _nearest(cfg: CfgNode, key: str) -> str:
    keys = [name for name, _ in _leaves(cfg)]
    same_leaf = [name for name in keys if name.split(".")[-1] == key.upper().split(".")[-1]]
    return difflib.get_close_matches(key.upper(), same_leaf or keys, n=1, cutoff=0.0)[0]


def _coerce(default: Any, value: Any, key: str, where: str) -> Any:
    """``value`` in the type of ``default``; a string is read as Python's notation, if it is one."""
    read = _literal(value) if isinstance(value, str) else value
    wanted = type(default)
    if type(read) is wanted or read is None or default is None:
        return read
    if wanted is str and isinstance(value, str):
        return value
    if (wanted is float and type(read) is int) or {wanted, type(read)} == {list, tuple}:
        return wanted(read)
    raise ValueError(
        f"{where}{key} is {value!r}, of type {type(read).__name__}; expected "
        f"{wanted.__name__}, as {default!r}"
    )


def _literal(text: str) -> Any:
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        # a string without quotes, or brackets without end
        return text
