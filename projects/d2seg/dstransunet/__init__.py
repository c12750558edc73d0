"""DS-TransUNet (Lin et al. 2022, "DS-TransUNet: Dual Swin Transformer U-Net for Medical Image
Segmentation")."""

from .backbone import build_dual_swin_backbone
from .model import DSTransUNet

__all__ = ["DSTransUNet", "build_dual_swin_backbone"]
