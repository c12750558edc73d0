"""Mask2Former (Cheng et al. 2022, "Masked-attention Mask Transformer for Universal Image
Segmentation")."""

from .model import Mask2Former

__all__ = ["Mask2Former"]
