"""Backbones beyond detectron2's own; each yields {"res2": (B, C, H/4, W/4), ...}."""

from .fpn import build_fpn_backbone
from .swin import build_swin_backbone
from .timm import build_timm_backbone
from .vit import build_vit_backbone
from .vit_pyramid import build_vit_pyramid_backbone

__all__ = [
    "build_fpn_backbone",
    "build_swin_backbone",
    "build_timm_backbone",
    "build_vit_backbone",
    "build_vit_pyramid_backbone",
]
