"""TransUNet (Chen et al. 2021)."""

from .hybrid_vit import build_hybrid_vit_backbone
from .model import TransUNet

__all__ = ["TransUNet", "build_hybrid_vit_backbone"]
