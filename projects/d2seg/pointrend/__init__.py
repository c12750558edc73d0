"""PointRend (Kirillov et al. 2020, "PointRend: Image Segmentation as Rendering")."""

from .instance import ImplicitPointRendInstanceHead, PointRendInstanceHead
from .semantic import PointRendSemantic

__all__ = ["ImplicitPointRendInstanceHead", "PointRendInstanceHead", "PointRendSemantic"]
