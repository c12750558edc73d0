"""Multi-scale deformable attention and its implementations (Zhu et al. 2021, section 4.1)."""

from .module import MultiScaleDeformableAttention

__all__ = ["MultiScaleDeformableAttention"]
