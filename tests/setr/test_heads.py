"""The decoders against plain, slow versions of the paper's description."""

import pytest
import torch
from detectron2.modeling.backbone import Backbone
from timm.layers import LayerNorm2d
from torch import Tensor
from torch.nn import functional as F

from d2seg.setr.heads import MLAAuxiliaryHead, MLAHead, UpsamplingHead
from d2seg.setr.mla import MultiLevelAggregation

C, K = 12, 5


def randomise(module: torch.nn.Module) -> torch.nn.Module:
    """Norms that change something: random scales, shifts and statistics."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.dim() == 1:
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(noise + 0.5 if name.endswith(("var", "weight")) else noise - 0.5)
    return module.eval()


def resized(features: Tensor, factor: int, align_corners: bool = False) -> Tensor:
    return F.interpolate(
        features, scale_factor=factor, mode="bilinear", align_corners=align_corners
    )


def conv_norm_relu(conv: torch.nn.Module, features: Tensor, padding: int) -> Tensor:
    return F.relu(conv.norm(F.conv2d(features, conv.weight, conv.bias, padding=padding)))


def normed(norm: LayerNorm2d, features: Tensor) -> Tensor:
    centred = features - features.mean(1, keepdim=True)
    scaled = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]


@pytest.mark.parametrize("upsampling", [1, 4])
@pytest.mark.parametrize("kernel_size", [1, 3])
@torch.no_grad()
def test_one_convolution_resized_before_the_classifier(kernel_size: int, upsampling: int) -> None:
    head = randomise(
        UpsamplingHead(
            in_feature="b",
            in_channels=C,
            num_classes=K,
            hidden_dim=8,
            kernel_size=kernel_size,
            upsampling=upsampling,
        )
    )
    features = torch.randn(2, C, 3, 5)
    hidden = conv_norm_relu(head.convs[0], normed(head.norm, features), kernel_size // 2)
    if upsampling > 1:
        hidden = resized(hidden, upsampling)
    expected = F.conv2d(hidden, head.predictor.weight, head.predictor.bias)
    torch.testing.assert_close(head({"a": None, "b": features}), expected)


@torch.no_grad()
def test_progressive_upsampling_doubles_between_its_convolutions() -> None:
    head = randomise(
        UpsamplingHead(
            in_feature="b", in_channels=C, num_classes=K, hidden_dim=8, num_convs=4, kernel_size=3
        )
    )
    features = torch.randn(1, C, 3, 4)
    hidden = normed(head.norm, features)
    for conv in head.convs[:3]:
        hidden = resized(conv_norm_relu(conv, hidden, 1), 2)
    hidden = conv_norm_relu(head.convs[3], hidden, 1)
    expected = F.conv2d(hidden, head.predictor.weight, head.predictor.bias)
    logits = head({"b": features})
    assert logits.shape == (1, K, 24, 32)
    torch.testing.assert_close(logits, expected)


class FourMaps(Backbone):
    """Stands for a ViT: the images themselves, shifted and scaled."""

    def __init__(self) -> None:
        super().__init__()
        self._out_features = [f"block{n}" for n in (1, 2, 5, 9)]
        self._out_feature_channels = dict.fromkeys(self._out_features, 3)
        self._out_feature_strides = dict.fromkeys(self._out_features, 16)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {name: images.roll(i, 1) * (i + 1) for i, name in enumerate(self._out_features)}


@torch.no_grad()
def test_aggregation_adds_from_the_deepest_upwards() -> None:
    aggregation = randomise(MultiLevelAggregation(bottom_up=FourMaps(), dim=6))
    images = torch.randn(2, 3, 4, 5)
    maps = list(FourMaps()(images).values())
    laterals = [
        conv_norm_relu(lateral, normed(norm, feature), 0)
        for lateral, norm, feature in zip(
            aggregation.laterals, aggregation.norms, maps, strict=True
        )
    ]
    outputs = aggregation(images)
    assert list(outputs) == ["block1", "block2", "block5", "block9"]
    for i, name in enumerate(outputs):
        expected = conv_norm_relu(aggregation.outputs[i], sum(laterals[i:]), 1)
        torch.testing.assert_close(outputs[name], expected)
        shape = aggregation.output_shape()[name]
        assert (shape.channels, shape.stride) == (6, 16)


@torch.no_grad()
def test_mla_head_joins_the_streams_shallow_to_deep() -> None:
    names = ("block1", "block2")
    head = MLAHead(in_features=names, in_channels=C, num_classes=K, stream_dim=4)
    randomise(head)
    features = {name: torch.randn(1, C, 3, 4) for name in reversed(names)}
    streams = []
    for name, stream in zip(names, head.streams, strict=True):
        hidden = conv_norm_relu(stream[1], conv_norm_relu(stream[0], features[name], 1), 1)
        streams.append(resized(hidden, 4, align_corners=True))
    weight, bias = head.predictor.weight, head.predictor.bias
    expected = F.conv2d(torch.cat(streams, 1), weight, bias, padding=1)
    torch.testing.assert_close(head(features), expected)


def test_mla_auxiliary_head_is_linear() -> None:
    head = MLAAuxiliaryHead(in_feature="block2", in_channels=C, num_classes=K)
    features = torch.randn(1, C, 3, 4)
    assert [name for name, _ in head.named_parameters()] == ["predictor.weight"]
    expected = torch.einsum("kc,bchw->bkhw", head.predictor.weight[..., 0, 0], features)
    torch.testing.assert_close(head({"block2": features}), expected)
