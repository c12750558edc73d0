"""Backbones beyond detectron2's own; each yields {"res2": (B, C, H/4, W/4), ...}."""

from .swin import build_swin_backbone
from .timm import build_timm_backbone

__all__ = ["build_swin_backbone", "build_timm_backbone"]
