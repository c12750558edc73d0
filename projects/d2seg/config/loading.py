"""Loading of a config file and ``KEY VALUE`` pairs into a complete ``CfgNode``.

Accepts what detectron2's ``CfgNode.merge_from_file`` and ``merge_from_list`` accept, and besides an
integer where a float is asked for and a bare number where a string is. What a user got wrong ends
in one ``ValueError`` that names file, key and remedy.
"""

import difflib
import logging
from ast import literal_eval
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2 import model_zoo
from detectron2.config import CfgNode, get_cfg

from ..checkpoint.shown import brief
from ..names import expand_user
from .defaults import add_d2seg_config, set_semantic_output
from .files import find_file, leaves, read_tree
from .imports import import_modules
from .value_kinds import check_kind
from .zoo import normalise, read_table

logger = logging.getLogger(__name__)

_FREEZE_KEY = "MODEL.BACKBONE.FREEZE_AT"
# detectron2's default, two frozen parts, is made for these; others are frozen when they are told to
_RESNETS = (
    "build_resnet_backbone",
    "build_resnet_fpn_backbone",
    "build_resnet_deeplab_backbone",
    "build_retinanet_resnet_fpn_backbone",
)


_NUMBER_OR_AUTO = ("TEST.TILES.SIZE",)


def load_config(
    config_file: str | Path | None,
    opts: Sequence[str] | None = (),
    *,
    labels: bool = False,
    trained: bool = False,
    imports: Sequence[str] = (),
) -> CfgNode:
    """Defaults of detectron2 and d2seg, overridden by a file, overridden by pairs.

    Args:
        config_file: a YAML file, whose ``_BASE_`` (one name or a list, relative to the file that
            says it) is merged first, the later over the earlier; or the name of one of this
            project's configs, as ``mask2former/coco_panoptic_resnet50``; or the name of a config of
            detectron2's model zoo, as ``COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml``,
            whose published checkpoint then becomes MODEL.WEIGHTS; None: the defaults alone.
            ``!!python`` tags, which detectron2's reader evaluates, could run code: they are refused
            outside of the model zoo unless TRUST_VARIABLE is set in the environment.
        opts: KEY VALUE KEY VALUE ..., the values in Python's notation.
        labels: semantic results are labels (H, W) where neither file nor pairs ask for scores.
            Every model's default are scores (K, H, W), as detectron2's evaluator takes them; this
            project's scripts ask for labels, in a fraction of the memory and time.
        trained: a name of this project's zoo brings its published checkpoint too, as detectron2's
            do; without, MODEL.WEIGHTS are those that the recipe starts from.
        imports: modules to import besides those of IMPORTS, to which they are added: what they
            register the config may name. A module is of the current folder or the environment.

    Returns:
        The config, not frozen. MODEL.BACKBONE.FREEZE_AT is 0 for all backbones but ResNets where
        neither file nor pairs say it.

    Raises:
        ValueError: a file that is missing, not YAML or not for this version; an unknown key; a
            value of the wrong type; a key without a value; a module that fails.
    """
    import_modules(imports)
    cfg = get_cfg()
    add_d2seg_config(cfg)
    if labels:
        set_semantic_output(cfg, "labels")
    said: set[str] = set()
    if config_file is not None:
        name = str(config_file)
        path, zoo = find_file(name)
        said = _merge_file(cfg, path)
        if zoo == "detectron2":
            _use_zoo_weights(cfg, name)
        elif zoo == "d2seg" and trained:
            _use_published_weights(cfg, name)
    _merge_pairs(cfg, list(opts or ()))
    cfg.IMPORTS = [*imports, *(name for name in cfg.IMPORTS if name not in imports)]
    import_modules(cfg.IMPORTS, "IMPORTS:")
    _expand_homes(cfg)
    if _FREEZE_KEY not in {*said, *(opts or ())[0::2]} and not _is_resnet(cfg):
        cfg.MODEL.BACKBONE.FREEZE_AT = 0
    return cfg


def _is_resnet(cfg: CfgNode) -> bool:
    name = cfg.MODEL.BACKBONE.NAME
    return (cfg.MODEL.FPN.BOTTOM_UP if name == "build_fpn_backbone" else name) in _RESNETS


def _expand_homes(cfg: CfgNode) -> None:
    """Replace ``~`` in the paths to be written to and to be read from."""
    for key, node in (
        ("OUTPUT_DIR", cfg),
        ("MODEL.WEIGHTS", cfg.MODEL),
        ("MODEL.RESTR.TEXT.VOCABULARY", cfg.MODEL.RESTR.TEXT),
        ("MODEL.RESTR.TEXT.WORD_VECTORS", cfg.MODEL.RESTR.TEXT),
    ):
        leaf = key.rpartition(".")[2]
        if isinstance(node[leaf], str):
            try:
                node[leaf] = expand_user(node[leaf])
            except ValueError as error:
                raise ValueError(f"{key} is {node[leaf]!r}: {error}") from error


def use_words_of_checkpoint(cfg: CfgNode) -> None:
    """Prepare ``cfg``, in place, for a model whose words and word vectors come from its checkpoint:
    the files that the training took them from may no longer exist."""
    text = cfg.MODEL.RESTR.TEXT
    text.WORD_VECTORS = ""
    if text.VOCABULARY and not Path(text.VOCABULARY).is_file():
        logger.info("There is no %s; the words are those of the checkpoint", text.VOCABULARY)
        text.VOCABULARY = ""


def _merge_file(cfg: CfgNode, path: Path) -> set[str]:
    """Merge in place; return the keys that the file and its bases say."""
    content = read_tree(path)
    if content.get("VERSION", cfg.VERSION) != cfg.VERSION:
        raise ValueError(
            f"{path}: VERSION is {brief(content['VERSION'])}; only configs of version "
            f"{cfg.VERSION} are read"
        )
    merge_tree(cfg, content, f"{path}: ")
    return {key for key, _ in leaves(content)}


def merge_tree(cfg: CfgNode, tree: dict[str, Any], where: str) -> None:
    """Merge nested dicts into ``cfg``, in place.

    Args:
        where: opens the message of an error.

    Raises:
        ValueError: an unknown key, or a value of the wrong type.
    """
    for key, value in leaves(tree):
        _set(cfg, key, value, where)


def _use_zoo_weights(cfg: CfgNode, name: str) -> None:
    try:
        cfg.MODEL.WEIGHTS = model_zoo.get_checkpoint_url(name)
    except RuntimeError:  # the zoo has configs without a published model
        logger.warning("%s has no checkpoint in the zoo; MODEL.WEIGHTS stays as it says", name)


def _use_published_weights(cfg: CfgNode, name: str) -> None:
    """Those of the table, or none where it has no address: a backbone's alone would not do."""
    entry = read_table().get(normalise(name))
    cfg.MODEL.WEIGHTS = entry.address if entry else ""
    if not cfg.MODEL.WEIGHTS and entry and entry.source:
        logger.warning(
            "%s: no address of its weights is known; see %s, and set MODEL.WEIGHTS to the file",
            entry.name,
            entry.source,
        )


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
        near = _nearest(cfg, key[:200])
        raise ValueError(f"{where}unknown config key '{brief(key)}'; the nearest is {near}")
    if isinstance(node[leaf], CfgNode):
        inside = ", ".join(f"{key}.{name}" for name in list(node[leaf])[:3])
        raise ValueError(f"{where}{key} is a group of keys ({inside}, ...), not a value")
    found = _coerce(node[leaf], value, key, where)
    try:
        check_kind(key, found, node[leaf])
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error
    node[leaf] = found


def _nearest(cfg: CfgNode, key: str) -> str:
    keys = [name for name, _ in leaves(cfg)]
    same_leaf = [name for name in keys if name.split(".")[-1] == key.upper().split(".")[-1]]
    return difflib.get_close_matches(key.upper(), same_leaf or keys, n=1, cutoff=0.0)[0]


def _coerce(default: Any, value: Any, key: str, where: str) -> Any:
    """``value`` in the type of ``default``; a string is read as Python's notation, if it is one."""
    read = _literal(value) if isinstance(value, str) else value
    wanted = type(default)
    if read is None and wanted is str:  # nothing behind the colon
        return ""
    if type(read) is wanted or read is None or default is None:
        return read
    if key in _NUMBER_OR_AUTO and (read == "auto" or (default == "auto" and type(read) is int)):
        return read
    if wanted is str and isinstance(value, str):
        return value
    if wanted is float and type(read) is int and abs(read) < 2**63:
        return float(read)
    if {wanted, type(read)} == {list, tuple}:
        return wanted(read)
    raise ValueError(
        f"{where}{key} is {brief(repr(value))}, of type {type(read).__name__}; expected "
        f"{wanted.__name__}, as {default!r}"
    )


def _literal(text: str) -> Any:
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        # a string without quotes, or brackets without end
        return text
