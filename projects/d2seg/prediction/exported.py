"""Exported files in the place of a model's network: what comes before and after it is d2seg's."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN, SemanticSegmentor, build_model
from torch import Tensor, nn

from ..checkpoint.undrawn import undrawn
from ..config.description import config_from_description
from ..config.tasks import classes_key, num_classes_of
from ..runtimes import Session, open_session
from ..text import Vocabulary
from .exported_stock import replace_parts


class RunByRuntime:
    """A session as a model calls it: batches of tensors in and out."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.size = tuple(session.description["size"]) or None

    def __call__(self, images: Tensor, *others: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) and what else belongs to all of them -> (B, ...), of a single picture as it
        comes."""
        words = [tensor.numpy() for tensor in others]
        found = [self.session(image[None].contiguous().float().numpy(), *words) for image in images]
        if len(found) == 1:
            return {name: torch.from_numpy(value) for name, value in found[0].items()}
        return {
            name: torch.cat([torch.from_numpy(each[name]) for each in found]) for name in found[0]
        }


def config_of_exported(session: Session, source: str) -> CfgNode:
    """The config that an exported file holds; see ``config_from_description``."""
    description = session.description
    classes = {
        key: {int(number): value for number, value in entry.items()}
        if isinstance(entry, dict)
        else entry
        for key, entry in description["classes"].items()
    }
    cfg = config_from_description({"config": description["config"], "classes": classes}, source)
    cfg.TEST.DTYPE = "fp32"  # the file has its own
    return cfg


def use_size_of_exported(cfg: CfgNode, session: Session) -> None:
    """Have test pictures resized, in place, to what a file of one size takes.

    Raises:
        ValueError: tiles or views of other sizes are asked for, or another number format.
    """
    size, dtype = session.description["size"], session.description["dtype"]
    if cfg.TEST.DTYPE != "fp32":
        raise ValueError(
            f"TEST.DTYPE is {cfg.TEST.DTYPE}; {cfg.MODEL.WEIGHTS} was exported in {dtype}, which "
            "it keeps: leave TEST.DTYPE at fp32"
        )
    if not size:
        return
    for key in ("TILES", "AUG"):
        if cfg.TEST[key].ENABLED:
            raise ValueError(
                f"TEST.{key}.ENABLED is True; {cfg.MODEL.WEIGHTS} takes pictures of {size[0]} x "
                f"{size[1]} (height x width) alone: export it with --dynamic, or set it to False"
            )
    node = cfg.MODEL.PER_PIXEL.TEST
    is_sliding = "logits" in session.description["outputs"] and node.MODE == "slide"
    if not is_sliding:  # of which each window is of the size
        cfg.INPUT.FIT_SIZE_TEST = tuple(size)
    cfg.INPUT.REFERRING_SIZE = cfg.INPUT.SLICE_SIZE = tuple(size)


def build_exported(cfg: CfgNode, session: Session) -> nn.Module:
    """The config's model, with the session in the place of its network.

    Raises:
        ValueError: the file is of another model than the config's, or gives results instead of what
            they are made of.
    """
    description = session.description
    source = cfg.MODEL.WEIGHTS
    if description["postprocess"]:
        raise ValueError(
            f"{source} was exported with --postprocess, for programs without d2seg; export it "
            "without"
        )
    _check(cfg, description, source)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.TIMM.PRETRAINED = cfg.MODEL.VIT.PRETRAINED = False
    with tempfile.TemporaryDirectory() as folder:
        cfg.MODEL.RESTR.TEXT.WORD_VECTORS = cfg.MODEL.RESTR.TEXT.VOCABULARY = ""
        if description["words"]:
            words = Path(folder) / "words.txt"
            Vocabulary(tuple(description["words"])).save(words)
            cfg.MODEL.RESTR.TEXT.VOCABULARY = str(words)
        with undrawn():
            model = build_model(cfg).eval()
    network = RunByRuntime(session)
    if isinstance(model, (SemanticSegmentor, GeneralizedRCNN)):
        replace_parts(model, network, network.size, cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST)
    else:
        model.exported = network
        for name, child in model.named_children():
            if name != "text_encoder":
                child.to("meta")  # frees the weights, which nothing asks for
    return model


def open_for(cfg: CfgNode) -> Session:
    """MODEL.WEIGHTS in TEST.RUNTIME; see ``open_session``."""
    return open_session(cfg.MODEL.WEIGHTS, cfg.TEST.RUNTIME)


def _check(cfg: CfgNode, description: dict[str, Any], source: str) -> None:
    """
    Raises:
        ValueError: the file is of another model than the config's.
    """
    own = {
        "MODEL.META_ARCHITECTURE": (cfg.MODEL.META_ARCHITECTURE, description["method"]),
        classes_key(cfg): (num_classes_of(cfg), description["num_classes"]),
        "MODEL.PIXEL_MEAN": (list(cfg.MODEL.PIXEL_MEAN), description["pixel_mean"]),
        "MODEL.PIXEL_STD": (list(cfg.MODEL.PIXEL_STD), description["pixel_std"]),
        "INPUT.FORMAT": (cfg.INPUT.FORMAT, description["channel_order"]),
    }
    for key, (wanted, found) in own.items():
        if wanted != found:
            raise ValueError(
                f"{source} was exported with {key} {found}; the config has {wanted}: give the "
                "config that it was exported with"
            )
