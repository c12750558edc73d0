"""Building blocks that depend on no method."""

from .deformable_attention import MultiScaleDeformableAttention
from .mlp import MLP
from .position_encoding import sine_position_encoding
from .transformer import CrossAttention, FeedForward, SelfAttention, TransformerEncoder

__all__ = [
    "MLP",
    "CrossAttention",
    "FeedForward",
    "MultiScaleDeformableAttention",
    "SelfAttention",
    "TransformerEncoder",
    "sine_position_encoding",
]
