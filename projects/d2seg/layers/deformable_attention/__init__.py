"""Multi-scale deformable attention and its implementations (Zhu et al. 2021, section 4.1)."""

from .gathered import gathered_sum
from .module import MultiScaleDeformableAttention, choose_implementation

__all__ = ["MultiScaleDeformableAttention", "choose_implementation", "gathered_sum"]
