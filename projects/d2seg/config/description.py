"""What a checkpoint says of its model: the config it was trained with, and its classes.

It is the entry "d2seg" beside "model", of plain text, lists and dicts. So a model can be built from
its checkpoint alone, where neither the config file nor the data set is.
"""

import hashlib
import json
from typing import Any

import yaml
from detectron2.config import CfgNode

from ..data.class_metadata import class_metadata, to_plain, use_plain
from .loading import load_config, merge_tree

ENTRY = "d2seg"


def describe(cfg: CfgNode) -> dict[str, Any]:
    """The entry for a model of this config: "config", the whole of it as YAML, and "classes", see
    ``data.class_metadata.to_plain``."""
    return {"config": cfg.dump(), "classes": to_plain(class_metadata(cfg))}


def config_from_description(description: Any, source: str) -> CfgNode:
    """The config of an entry that :func:`describe` made, not frozen.

    Its only data set is one for testing, of which the catalog has the classes and nothing else.

    Args:
        source: what the user calls the checkpoint.

    Raises:
        ValueError: the entry is damaged, or its config has a key that this version does not know.
    """
    try:
        tree, classes = yaml.safe_load(description["config"]), dict(description["classes"])
        digest = hashlib.sha256(json.dumps(classes, sort_keys=True).encode()).hexdigest()
    except (KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise ValueError(
            f"{source}: its entry '{ENTRY}' is damaged; give the config it was trained with"
        ) from error
    cfg = load_config(None)
    merge_tree(cfg, tree, f"{source}: its stored config: ")
    use_plain(cfg, classes, f"classes_{digest[:12]}")
    return cfg
