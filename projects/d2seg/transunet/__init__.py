"""TransUNet (Chen et al. 2021)."""

from .model import TransUNet

__all__ = ["TransUNet"]
