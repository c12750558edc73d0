"""What a region is described by: a coarse mask per class (PointRend, Kirillov et al. 2020, section
4.1) or the parameters of a point head of its own (Implicit PointRend, from "Pointly-Supervised
Instance Segmentation", Cheng et al. 2022).

R regions, C channels, P points, K classes.
"""

from itertools import pairwise
from math import pi

import fvcore.nn.weight_init as weight_init
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RegionHead(nn.Module):
    """Two convolutions and fully connected layers: (R, C, S, S) -> (R, num_outputs)."""

    def __init__(
        self,
        *,
        input_channels: int,
        input_size: int,
        conv_dim: int,
        fc_dim: int,
        num_fc: int,
        num_outputs: int,
    ) -> None:
        """
        Args:
            input_size: S; of an odd one the last row and column are left out.
            conv_dim: where there are not as many channels, a 1x1 convolution makes them.
        """
        super().__init__()
        convs: dict[str, nn.Module] = {}
        if input_channels != conv_dim:
            convs["channels"] = nn.Conv2d(input_channels, conv_dim, kernel_size=1)
        convs["space"] = nn.Conv2d(conv_dim, conv_dim, kernel_size=2, stride=2)
        self.reduce_convs = nn.ModuleDict(convs)
        dims = [conv_dim * (input_size // 2) ** 2] + [fc_dim] * num_fc
        self.fcs = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(dims))
        self.predictor = nn.Linear(dims[-1], num_outputs)
        for conv in self.reduce_convs.values():
            weight_init.c2_msra_fill(conv)
        for fc in self.fcs:
            weight_init.c2_xavier_fill(fc)
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, features: Tensor) -> Tensor:
        for conv in self.reduce_convs.values():
            features = F.relu_(conv(features))
        features = features.flatten(1)
        for fc in self.fcs:
            features = F.relu_(fc(features))
        return self.predictor(features)


class ImplicitPointHead(nn.Module):
    """An MLP whose weights every region brings along."""

    frequencies: Tensor

    def __init__(
        self,
        *,
        feature_channels: int,
        num_classes: int,
        hidden_dim: int,
        num_layers: int,
        use_image_features: bool,
        use_positions: bool,
        position_dim: int = 256,
    ) -> None:
        """
        Args:
            num_layers: hidden layers, before the predictor.
            position_dim: of the random Fourier encoding of the coordinates (Tancik et al. 2020).

        Raises:
            ValueError: neither features nor positions are left as input.
        """
        super().__init__()
        if not (use_image_features or use_positions):
            raise ValueError(
                "MODEL.POINTREND.IMPLICIT needs USE_IMAGE_FEATURES or USE_POSITIONS, both are False"
            )
        self.use_image_features = use_image_features
        self.use_positions = use_positions
        if use_positions:
            self.register_buffer("frequencies", torch.randn(2, position_dim // 2))
        input_dim = feature_channels * use_image_features + position_dim * use_positions
        dims = [input_dim] + [hidden_dim] * num_layers + [num_classes]
        self.weight_shapes = [(out, into) for into, out in pairwise(dims)]

    @property
    def num_parameters(self) -> int:
        """How many numbers describe a region's MLP."""
        return sum(out * into + out for out, into in self.weight_shapes)

    def forward(
        self, features: Tensor, coords: Tensor, parameters: Tensor, classes: Tensor
    ) -> Tensor:
        """
        Args:
            features: (R, P, C). coords: (R, P, 2) in the box. parameters: (R, num_parameters).
            classes: (R,) int64, the only class of each region that is asked for.

        Returns:
            Logits (R, P, 1).
        """
        inputs = [self._encode(coords)] if self.use_positions else []
        inputs += [features] if self.use_image_features else []
        hidden = torch.cat(inputs, dim=2)
        *layers, (weight, bias) = self._split(parameters)
        for layer_weight, layer_bias in layers:
            hidden = F.relu_(torch.baddbmm(layer_bias[:, None], hidden, layer_weight.mT))
        rows = torch.arange(len(classes), device=classes.device)
        weight = weight[rows, classes][..., None]  # (R, in, 1)
        return torch.baddbmm(bias[rows, classes, None, None], hidden, weight)

    def _encode(self, coords: Tensor) -> Tensor:
        """(R, P, 2) -> (R, P, position_dim)."""
        x, y = (2 * coords - 1).split(1, dim=-1)
        # as a product of matrices, autocast would round the angles to half precision
        angles = 2 * pi * (x * self.frequencies[0] + y * self.frequencies[1])
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def _split(self, parameters: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Weights (R, out, in) and biases (R, out) of every layer: first all weights, then all
        biases, as in the official checkpoints."""
        weights = parameters.split(
            [out * into for out, into in self.weight_shapes]
            + [out for out, _ in self.weight_shapes],
            dim=1,
        )
        count = len(self.weight_shapes)
        return [
            (weight.unflatten(1, shape), bias)
            for weight, shape, bias in zip(
                weights[:count], self.weight_shapes, weights[count:], strict=True
            )
        ]
