"""What a checkpoint says of its model: the config it was trained with, and its classes.

It is the entry "d2seg" beside "model", of plain text, lists and dicts. So a model can be built from
its checkpoint alone, where neither the config file nor the data set is.
"""

import hashlib
import json
import logging
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ..checkpoint.plain_yaml import load_plain_yaml
from ..data.class_metadata import class_metadata, first_difference, to_plain, use_plain
from .files import MAX_VALUES
from .loading import load_config, merge_tree

logger = logging.getLogger(__name__)

ENTRY = "d2seg"


def describe(cfg: CfgNode) -> dict[str, Any]:
    """The entry for a model of this config: "config", the whole of it as YAML, and "classes", see
    ``data.class_metadata.to_plain``."""
    return {"config": cfg.dump(), "classes": to_plain(class_metadata(cfg))}


def classes_of(content: dict[str, Any]) -> dict[str, Any]:
    """The classes that a checkpoint stores, see ``to_plain``; empty where it stores none."""
    description = content.get(ENTRY)
    classes = description.get("classes") if isinstance(description, dict) else None
    return dict(classes) if isinstance(classes, dict) else {}


def check_stored_classes(cfg: CfgNode, content: dict[str, Any]) -> None:
    """See that a checkpoint was trained with the classes of the data sets that it is scored on.

    Raises:
        ValueError: their names differ, or stand in another order; the message has the first.
    """
    classes = classes_of(content)
    for name in cfg.DATASETS.TEST:
        difference = first_difference(classes, MetadataCatalog.get(name))
        if difference:
            raise ValueError(
                f"the checkpoint was trained with {difference}: its scores would be those of other "
                "classes; list them in its order under 'classes' of a declaration, or choose "
                "another data set"
            )


def warn_of_other_classes(cfg: CfgNode, content: dict[str, Any]) -> None:
    """Say so where a training starts from a checkpoint of as many classes under other names, whose
    class head it therefore takes over."""
    classes = classes_of(content)
    for name in cfg.DATASETS.TRAIN:
        difference = first_difference(classes, MetadataCatalog.get(name))
        if difference:
            logger.warning(
                "The checkpoint was trained with %s: the class head starts from weights of other "
                "classes. Where only the order differs, list yours in the checkpoint's under "
                "'classes' of a declaration",
                difference,
            )
            return


def use_stored_classes(cfg: CfgNode, content: dict[str, Any], source: str) -> None:
    """Let ``cfg`` have the classes that a checkpoint stores, in place, where its own are others.

    Args:
        source: what the user calls the checkpoint, for the warning.
    """
    classes = classes_of(content)
    difference = first_difference(classes, class_metadata(cfg))
    if difference:
        logger.warning("%s was trained with %s; its own names are drawn", source, difference)
        use_plain(cfg, classes, _name_of(classes))


def _name_of(classes: dict[str, Any]) -> str:
    """A data set's, for these classes alone."""
    digest = hashlib.sha256(json.dumps(classes, sort_keys=True).encode()).hexdigest()
    return f"classes_{digest[:12]}"


def config_from_description(description: Any, source: str) -> CfgNode:
    """The config of an entry that :func:`describe` made, not frozen.

    Its only data set is one for testing, of which the catalog has the classes and nothing else.

    Args:
        source: what the user calls the checkpoint.

    Raises:
        ValueError: the entry is damaged, or its config has a key that this version does not know.
    """
    try:
        tree = load_plain_yaml(description["config"], MAX_VALUES)
        classes = dict(description["classes"])
        name = _name_of(classes)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{source}: its entry '{ENTRY}' is damaged; give the config it was trained with"
        ) from error
    cfg = load_config(None)
    merge_tree(cfg, tree, f"{source}: its stored config: ")
    use_plain(cfg, classes, name)
    return cfg
