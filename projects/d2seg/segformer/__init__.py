"""SegFormer (Xie et al. 2021, "SegFormer: Simple and Efficient Design for Semantic Segmentation
with Transformers")."""

from .mit import build_mit_backbone
from .model import SegFormer

__all__ = ["SegFormer", "build_mit_backbone"]
