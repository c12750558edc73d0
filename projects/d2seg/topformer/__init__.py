"""TopFormer (Zhang et al. 2022, "TopFormer: Token Pyramid Transformer for Mobile Semantic
Segmentation")."""

from .backbone import build_topformer_backbone
from .model import TopFormer

__all__ = ["TopFormer", "build_topformer_backbone"]
