"""MaskFormer (Cheng et al. 2021, "Per-Pixel Classification is Not All You Need for Semantic
Segmentation") and the per-pixel baselines of its paper."""

from .model import MaskFormer
from .per_pixel_baseline import PerPixelBaselineHead, PerPixelBaselinePlusHead

__all__ = ["MaskFormer", "PerPixelBaselineHead", "PerPixelBaselinePlusHead"]
