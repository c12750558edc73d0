"""SETR (Zheng et al. 2021, "Rethinking Semantic Segmentation from a Sequence-to-Sequence
Perspective with Transformers")."""

from .mla import build_setr_mla_backbone
from .model import SETR

__all__ = ["SETR", "build_setr_mla_backbone"]
