"""From a checkpoint alone to a predictor."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode

from ..acceleration import DTYPES
from ..checkpoint.conversion import options_of
from ..checkpoint.files import find_file, read_checkpoint
from ..config.checks import check_device
from ..config.defaults import set_semantic_output
from ..config.description import ENTRY, config_from_description
from ..config.loading import load_config
from ..config.tasks import TASKS, tasks_of
from ..config.zoo import address_of, is_zoo_like
from ..runtimes import Session, open_session
from ..runtimes.session import is_exported
from .building import build_predictor
from .exported import config_of_exported
from .identification import identify
from .predictor import Predictor


def load(
    weights: str | Path,
    task: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    confidence: float | None = None,
    *,
    config: str | Path | CfgNode | None = None,
    runtime: str = "auto",
) -> Predictor:
    """A model that is ready to be called with pictures, from its checkpoint.

    A checkpoint that this package trained holds its config and its classes. One of the official
    repositories or of transformers is recognised by the names and shapes of its tensors among those
    of the published configs.

    Args:
        weights: a file, a folder of transformers, an address that detectron2 resolves, or the
            name of a config of the model zoo, whose published weights are fetched; or a file of
            ``d2seg export`` (.onnx, .xml, .pt2), which runs on the CPU in its number format.
        task: "panoptic", "semantic", "instance" or "referring"; None: the first of these that the
            model offers. It also decides between configs whose models are alike.
        device: None: CUDA where there is a GPU, else the CPU.
        dtype: of the weights, "fp32", "bf16" or "fp16", or as torch has it; None: as the config
            says, fp32 by default.
        confidence: in [0, 1]; see ``Predictor.__call__``. None: whatever the model gives.
        config: a config file, a name in detectron2's model zoo, or a config, for a checkpoint that
            neither holds nor implies one.
        runtime: of an exported file: "onnxruntime", "openvino" or "torch"; "auto": the first that
            is installed and runs the format, in the order of docs/export.md.

    Returns:
        The predictor. Called with a path, PIL image, array (BGR unless ``channel_order`` says
        otherwise), list or folder, it gives detectron2's dict, or a list of them, with methods
        ``draw``, ``to_coco`` and ``to_supervision``.

    Raises:
        ValueError: an argument makes no sense; the checkpoint is missing, damaged, unsafe, of no
            known layout, or fits several configs, which are named; its model has parts of modules
            that it may not import by itself; the model does not do the task.
        ModuleNotFoundError: the runtime of an exported file is not installed.
    """
    opened = open_weights(weights, task, device, dtype, confidence, config=config, runtime=runtime)
    chosen = task or min(tasks_of(opened.cfg), key=TASKS.index)
    return build_predictor(opened.cfg, chosen, confidence, opened.content, opened.session)


@dataclass
class Opened:
    """What a model is built from: its config, and its checkpoint's content or the exported file."""

    cfg: CfgNode
    content: dict[str, Any] | None
    session: Session | None


def open_weights(
    weights: str | Path,
    task: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    confidence: float | None = None,
    *,
    config: str | Path | CfgNode | None = None,
    runtime: str = "auto",
) -> Opened:
    """Read what :func:`load` builds its model from; arguments and errors are those of it."""
    if not isinstance(weights, (str, Path)) or not str(weights):
        raise ValueError(f"weights is {weights!r}; give the path of a checkpoint")
    source = str(weights)
    content, session = None, None
    if is_exported(source):
        _check_of_exported(source, device, dtype, config)
        device = "cpu"
    changes = _checked_changes(task, device, dtype, confidence)
    if is_exported(source):
        session = open_session(source, runtime)
        cfg = config_of_exported(session, source)
    elif runtime != "auto":
        raise ValueError(f"runtime is {runtime!r}; {source} is no exported file, which torch runs")
    else:
        if is_zoo_like(source) and not os.path.exists(Path(source).parts[0]):
            source, config = address_of(source), source if config is None else config
        content = read_checkpoint(find_file(source))
        cfg = _find_config(content, source, task, config)
    cfg.merge_from_list([item for change in changes.items() for item in change])
    cfg.MODEL.WEIGHTS = source
    set_semantic_output(cfg, "scores")  # a training by train_net.py had labels
    cfg.MODEL.TIMM.PRETRAINED = cfg.MODEL.VIT.PRETRAINED = False  # all comes from the checkpoint
    offered = tasks_of(cfg)
    if task is not None and task not in offered:
        model = f"{source}, of {cfg.MODEL.META_ARCHITECTURE},"
        raise ValueError(f"task is {task!r}; {model} offers {', '.join(offered)}")
    return Opened(cfg, content, session)


def _check_of_exported(
    source: str,
    device: str | torch.device | None,
    dtype: str | torch.dtype | None,
    config: str | Path | CfgNode | None,
) -> None:
    """
    Raises:
        ValueError: an argument that an exported file leaves no choice of.
    """
    if device is not None and torch.device(device).type != "cpu":
        raise ValueError(f"device is {str(device)!r}; exported files, as {source}, run on the CPU")
    for name, value in (("dtype", dtype), ("config", config)):
        if value is not None:
            raise ValueError(
                f"{name} is {value!r}; the exported file {source} has its own: leave it out"
            )


def _checked_changes(
    task: str | None,
    device: str | torch.device | None,
    dtype: str | torch.dtype | None,
    confidence: float | None,
) -> dict[str, str]:
    """The keys that the arguments of :func:`load` set."""
    if task is not None and task not in TASKS:
        raise ValueError(f"task is {task!r}; it is one of {', '.join(TASKS)}")
    if confidence is not None and not 0 <= confidence <= 1:
        raise ValueError(f"confidence is {confidence}; it lies between 0 and 1")
    chosen = ("cuda" if torch.cuda.is_available() else "cpu") if device is None else device
    try:
        check_device(str(chosen))
    except ValueError as error:
        raise ValueError(f"device is {device!r}, which torch does not have here") from error
    changes = {"MODEL.DEVICE": str(chosen)}
    if dtype is not None:
        names = {value: name for name, value in DTYPES.items()}
        name = names.get(dtype, dtype)
        if name not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; it is one of {', '.join(DTYPES)}")
        changes["TEST.DTYPE"] = name
    return changes


def _find_config(
    content: dict[str, Any], source: str, task: str | None, config: str | Path | CfgNode | None
) -> CfgNode:
    if isinstance(config, CfgNode):
        cfg = config.clone()
        cfg.defrost()
        return cfg
    if config is not None:
        return load_config(str(config))
    if ENTRY in content:
        return config_from_description(content[ENTRY], source)
    cfg = load_config(str(identify(content, source, task)))
    cfg.merge_from_list(list(options_of(content["model"])))
    return cfg
