"""Multi-layer perceptron with ReLU between the layers (Carion et al. 2020, section 3.2)."""

from itertools import pairwise

from torch import Tensor, nn

from .activated import LinearReLU


class MLP(nn.Module):
    """``num_layers`` linear layers, the inner ones ``hidden_dim`` wide: (..., in) -> (..., out)."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int) -> None:
        super().__init__()
        dims = [input_dim] + [hidden_dim] * (num_layers - 1) + [output_dim]
        *inner, last = pairwise(dims)
        self.layers = nn.ModuleList(LinearReLU(*pair) for pair in inner)
        self.layers.append(nn.Linear(*last))

    def forward(self, features: Tensor) -> Tensor:
        for layer in self.layers:
            features = layer(features)
        return features
