"""The point head and adaptive subdivision (PointRend, Kirillov et al. 2020, sections 3.1 and 3.3).

N regions (boxes of instances, or images), C channels of the fine features, K classes of the coarse
prediction, P points, (H, W) a map of logits. Coordinates are those of ``point_sample``.
"""

from collections.abc import Callable

import fvcore.nn.weight_init as weight_init
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .point_rows import bilinear_corners, point_rows
from .point_sample import most_uncertain_cells
from .recording import is_recording


class PointHead(nn.Module):
    """An MLP that all points share, on their fine features and their coarse prediction."""

    def __init__(
        self,
        *,
        feature_channels: int,
        num_classes: int,
        hidden_dim: int,
        num_layers: int,
        coarse_at_every_layer: bool,
    ) -> None:
        """
        Args:
            feature_channels: C.
            num_classes: K, of the coarse prediction and of the output.
            num_layers: hidden layers, before the predictor.
            coarse_at_every_layer: the coarse prediction joins the input of every layer and of the
                predictor, not of the first layer alone.
        """
        super().__init__()
        self.coarse_at_every_layer = coarse_at_every_layer
        widths = [feature_channels + num_classes] + [
            hidden_dim + num_classes * coarse_at_every_layer
        ] * num_layers
        self.layers = nn.ModuleList(nn.Linear(width, hidden_dim) for width in widths[:-1])
        self.predictor = nn.Linear(widths[-1], num_classes)
        for layer in self.layers:
            weight_init.c2_msra_fill(layer)
        # as the official code does: the first predictions are near 0
        nn.init.normal_(self.predictor.weight, std=0.001)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, features: Tensor, coarse: Tensor, classes: Tensor | None = None) -> Tensor:
        """
        Args:
            features: (N, P, C). coarse: (N, P, K) logits.
            classes: (N,) int64, the only class of each region that is asked for; ``None``: all.

        Returns:
            Logits (N, P, K), or (N, P, 1) with ``classes``.
        """
        dtype = self.predictor.weight.dtype  # points are sampled in fp32, whatever the model is in
        hidden = torch.cat([features, coarse], dim=2).to(dtype)
        coarse = coarse.to(dtype)
        for layer in self.layers:
            hidden = F.relu(layer(hidden), inplace=True)
            if self.coarse_at_every_layer:
                hidden = torch.cat([hidden, coarse], dim=2)
        if classes is None:
            return self.predictor(hidden)
        weight = self.predictor.weight[classes][..., None]  # (N, width, 1)
        return torch.baddbmm(self.predictor.bias[classes, None, None], hidden, weight)

    def on_coarse_maps(
        self, features: Tensor, coarse: Tensor, coords: Tensor, classes: Tensor
    ) -> Tensor:
        """:meth:`forward` with the values of coarse maps at the points.

        Args:
            features: (N, P, C). coarse: (N, K, H, W) logits over each region. coords: (N, P, 2).
            classes: (N,) int64, the only class of each region that is asked for.

        Returns:
            Logits (N, P, 1).
        """
        is_plain = (
            torch.is_grad_enabled()
            or is_recording()
            or features.device.type != "cpu"
            or self.predictor.weight.dtype != torch.float32
            or not features.numel()
            or not self.coarse_at_every_layer
        )
        if is_plain:
            return self(features, point_rows(coarse, coords), classes)
        return self._on_cells(features, coarse, coords, classes)

    def _on_cells(
        self, features: Tensor, coarse: Tensor, coords: Tensor, classes: Tensor
    ) -> Tensor:
        """What a layer makes of the coarse prediction is linear in it, and so is interpolation:
        computed at the coarse maps' few cells and interpolated, it is a start to which each layer
        adds what it makes of the features. A fifth "cell" of every point holds the bias."""
        num, num_classes, height, width = coarse.shape
        corners, weights = bilinear_corners(
            coords * coords.new_tensor([width, height]), height, width
        )
        cells = coarse.flatten(2).transpose(1, 2).flatten(0, 1)  # (N * H * W, K)
        first_cells = torch.arange(num)[:, None, None] * (height * width)
        bags = F.pad(corners + first_cells, (0, 1), value=len(cells)).flatten(0, 1)  # (N * P, 5)
        bag_weights = F.pad(weights, (0, 1), value=1.0).flatten(0, 1)
        hidden = features.flatten(0, 1)
        for layer in self.layers:
            of_features, of_coarse = layer.weight.split([hidden.shape[1], num_classes], dim=1)
            table = torch.cat([cells @ of_coarse.T, layer.bias[None]])
            start = F.embedding_bag(bags, table, per_sample_weights=bag_weights, mode="sum")
            hidden = start.addmm_(hidden, of_features.T).relu_()
        of_features, of_coarse = self.predictor.weight[classes].split(
            [hidden.shape[1], num_classes], dim=1
        )
        of_cells = torch.einsum("nkc,nk->nc", coarse.flatten(2), of_coarse)
        start = (of_cells.gather(1, corners.flatten(1)).view_as(weights) * weights).sum(-1)
        start += self.predictor.bias[classes, None]
        return torch.baddbmm(
            start[..., None], hidden.unflatten(0, (num, -1)), of_features[..., None]
        )


def subdivide(
    logits: Tensor,
    predict: Callable[[Tensor], Tensor],
    uncertainty: Callable[[Tensor], Tensor],
    *,
    num_steps: int,
    num_points: int,
) -> Tensor:
    """Double the resolution step by step; each step predicts its most uncertain cells anew.

    Args:
        logits: (N, C, H, W).
        predict: coordinates (N, P, 2) -> logits (N, P, C) there.
        uncertainty: (N, C, H, W) logits -> (N, H, W), larger is less certain.
        num_points: P of a step; all cells, where a map has fewer.

    Returns:
        (N, C, 2^num_steps H, 2^num_steps W) logits; ``logits`` itself without a step.
    """
    logits = logits.contiguous()  # interpolation would keep channels-last
    for _ in range(num_steps):
        logits = F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=False)
        logits = predict_uncertain_cells(logits, predict, uncertainty, num_points)
    return logits


def predict_uncertain_cells(
    logits: Tensor,
    predict: Callable[[Tensor], Tensor],
    uncertainty: Callable[[Tensor], Tensor],
    num_points: int,
) -> Tensor:
    """One step of :func:`subdivide` at the resolution of contiguous ``logits`` (N, C, H, W), which
    are overwritten and returned; in a recorded graph the result is a new tensor."""
    cells, coords = most_uncertain_cells(uncertainty(logits), num_points)
    predicted = predict(coords).to(logits.dtype).transpose(1, 2)
    cells = cells[:, None].expand_as(predicted)
    flat = logits.view(*logits.shape[:2], -1)  # a view: copies are refused
    if is_recording():
        return flat.scatter(2, cells, predicted).view_as(logits)
    flat.scatter_(2, cells, predicted)
    return logits
