"""Building blocks that know nothing of any method."""

from .mlp import MLP
from .position_encoding import sine_position_encoding
from .transformer import CrossAttention, FeedForward, SelfAttention, TransformerEncoder

__all__ = [
    "MLP",
    "CrossAttention",
    "FeedForward",
    "SelfAttention",
    "TransformerEncoder",
    "sine_position_encoding",
]
