"""Multi-scale deformable attention and its implementations (Zhu et al. 2021, section 4.1)."""

from .module import MultiScaleDeformableAttention, choose_implementation

__all__ = ["MultiScaleDeformableAttention", "choose_implementation"]
