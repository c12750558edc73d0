"""ReSTR (Kim et al. 2022): referring segmentation without convolutions."""

from .model import ReSTR

__all__ = ["ReSTR"]
