"""Configs and models by name; the table behind them is ``config/zoo.csv``."""

import builtins

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from ..checkpoint import Checkpointer
from ..checkpoint.undrawn import undrawn
from ..config.loading import load_config, use_words_of_checkpoint
from ..config.zoo import ZooEntry, address_of, entry_of, find_config, read_table


def list(
    method: str | None = None, task: str | None = None, dataset: str | None = None
) -> builtins.list[str]:
    """Names of the configs, sorted; with arguments, of those that have exactly these parts.

    Raises:
        ValueError: no config at all has a part that is asked for; the message says which there are.
    """
    wanted = {"method": method, "task": task, "dataset": dataset}
    entries = read_table().values()
    for part, value in wanted.items():
        known = {getattr(entry, part) for entry in entries}
        if value is not None and value not in known:
            raise ValueError(f"no {part} '{value}' in the model zoo; there are {sorted(known)}")
    return [
        entry.name
        for entry in entries
        if all(value in (None, getattr(entry, part)) for part, value in wanted.items())
    ]


def get_entry(name: str) -> ZooEntry:
    """What is published of a config: result, source, licence, address and hash of the weights.

    Raises:
        ValueError: no config of that name; the message has the nearest three.
    """
    return entry_of(name)


def get_config_file(name: str) -> str:
    """The path of a config, in the checkout or in the installed package.

    Raises:
        ValueError: no config of that name; the message has the nearest three.
    """
    return str(find_config(name) or find_config(entry_of(name).name))


def get_checkpoint_url(name: str) -> str:
    """The address of the published weights, as MODEL.WEIGHTS takes it: a URL, and behind "#" the
    hash of the file where it is known.

    Raises:
        ValueError: no config of that name, or no address is known; the message says where the
            authors have it, if they do.
    """
    return address_of(name)


def get_config(name: str, trained: bool = False) -> CfgNode:
    """A config, not frozen.

    Args:
        trained: MODEL.WEIGHTS are the published weights, else those that training starts from.

    Raises:
        ValueError: as :func:`get_checkpoint_url`, the second only if ``trained``.
    """
    cfg = load_config(get_config_file(name))
    if trained:
        cfg.MODEL.WEIGHTS = get_checkpoint_url(name)
    return cfg


def get(name: str, trained: bool = True, device: str | None = None) -> nn.Module:
    """A model, in training mode as detectron2's.

    Args:
        trained: with the published weights, every one of them (detectron2's default is False); else
            with those that training starts from, fetched too.
        device: None: MODEL.DEVICE of the config, or the CPU where torch sees no CUDA device.

    Raises:
        ValueError: as :func:`get_config`; or the weights cannot be had.
    """
    cfg = get_config(name, trained)
    if device is None and not torch.cuda.is_available():
        device = "cpu"
    if device is not None:
        cfg.MODEL.DEVICE = device
    if trained:
        use_words_of_checkpoint(cfg)
    with undrawn(trained):
        model = build_model(cfg)
    Checkpointer(model).load(cfg.MODEL.WEIGHTS, checkpointables=[], require_complete=trained)
    return model
