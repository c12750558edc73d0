"""Models that are given all their weights: drawing those of a large one takes longer than the rest."""

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from d2seg.checkpoint.undrawn import undrawn

__all__ = ["build_undrawn", "undrawn"]


def build_undrawn(cfg: CfgNode) -> nn.Module:
    """For inference, with zeros where the model would draw its weights."""
    with undrawn():
        return build_model(cfg).eval()
