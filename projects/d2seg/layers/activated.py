"""A linear layer with its ReLU, which one pass can compute (``fused.py``)."""

from torch import Tensor, nn
from torch.nn import functional as F


class LinearReLU(nn.Linear):
    """(..., in) -> (..., out) >= 0, under the parameter names of ``nn.Linear``."""

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(super().forward(features), inplace=True)
