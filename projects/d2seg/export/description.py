"""What an exported file says of itself, from a config and its model."""

from typing import Any

from detectron2.config import CfgNode
from torch import nn

from ..config.description import describe as describe_config
from ..config.tasks import TASKS, num_classes_of, tasks_of
from ..data.class_metadata import class_metadata, to_plain
from ..runtimes.description import FORMAT
from ..version import __version__


def describe(
    cfg: CfgNode,
    model: nn.Module,
    *,
    size: tuple[int, int] | None,
    divisibility: int,
    dtype: str,
    inputs: list[str],
    outputs: list[str],
    postprocess: str,
) -> dict[str, Any]:
    """See ``runtimes.description.REQUIRED``.

    Args:
        size: (H, W) of the input; None: any.
    """
    task = postprocess or min(tasks_of(cfg), key=TASKS.index)
    classes = to_plain(class_metadata(cfg))
    kind = "thing" if task == "instance" or not classes.get("stuff_classes") else "stuff"
    of_anyone = cfg.clone()  # without places on this machine
    of_anyone.defrost()
    of_anyone.MODEL.WEIGHTS = of_anyone.MODEL.RESTR.TEXT.VOCABULARY = of_anyone.OUTPUT_DIR = ""
    words = getattr(getattr(model, "text_encoder", None), "vocabulary", None)
    return {
        "format": FORMAT,
        "version": __version__,
        "method": cfg.MODEL.META_ARCHITECTURE,
        "task": task,
        "tasks": [postprocess] if postprocess else list(tasks_of(cfg)),
        "dtype": dtype,
        "size": list(size or ()),
        "divisibility": divisibility,
        "num_classes": num_classes_of(cfg),
        "pixel_mean": [float(value) for value in cfg.MODEL.PIXEL_MEAN],
        "pixel_std": [float(value) for value in cfg.MODEL.PIXEL_STD],
        "channel_order": cfg.INPUT.FORMAT,
        "num_channels": len(cfg.MODEL.PIXEL_MEAN),
        "inputs": inputs,
        "outputs": outputs,
        "postprocess": postprocess,
        "class_names": list(classes.get(f"{kind}_classes", ())),
        "class_colors": list(classes.get(f"{kind}_colors", ())),
        "config": describe_config(of_anyone)["config"],
        "classes": classes,
        "words": [] if words is None else list(words.words),
    }
