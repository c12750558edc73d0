"""The head of one matrix per level against the layers in the order of the paper."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import Tensor
from torch.nn import functional as F

from d2seg.segformer.head import SegFormerHead

SHAPES = {
    name: ShapeSpec(channels=channels, stride=stride)
    for name, channels, stride in [
        ("res2", 6, 4),
        ("res3", 10, 8),
        ("res4", 7, 16),
        ("res5", 9, 32),
    ]
}


def plain(head: SegFormerHead, features: dict[str, Tensor]) -> Tensor:
    """Section 3.2 of the paper: project, resize, join, fuse, norm, ReLU, classify."""
    size = features["res2"].shape[-2:]
    levels = []
    for name in ("res5", "res4", "res3", "res2"):
        projected = head.linears[name](features[name].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        levels.append(F.interpolate(projected, size=size, mode="bilinear", align_corners=False))
    return head.predictor(F.relu(head.norm(head.fuse(torch.cat(levels, 1)))))


@pytest.fixture
def head() -> SegFormerHead:
    torch.manual_seed(0)
    head = SegFormerHead(SHAPES, num_classes=5, embed_dim=16, dropout=0.0)
    for name, tensor in head.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            tensor.normal_(std=0.5)
    return head


def features(size: tuple[int, int]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    height, width = size
    return {
        name: torch.randn(
            2, spec.channels, height // spec.stride, width // spec.stride, generator=generator
        )
        for name, spec in SHAPES.items()
    }


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(64, 96), (32, 160)])
def test_equal_to_the_layers_one_by_one(
    head: SegFormerHead, training: bool, size: tuple[int, int]
) -> None:
    head.train(training)
    levels = features(size)
    torch.testing.assert_close(head(levels), plain(head, levels), atol=1e-5, rtol=1e-5)


def test_gradients_are_equal(head: SegFormerHead) -> None:
    head.train()
    levels, gradients = features((64, 96)), []
    for forward in (head, lambda levels: plain(head, levels)):
        head.zero_grad()
        forward(levels).square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in head.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-5, rtol=1e-4, msg=name)


def test_a_change_of_weights_is_seen(head: SegFormerHead) -> None:
    """Nothing of the folded matrices is kept."""
    head.eval()
    levels = features((64, 96))
    head(levels)
    with torch.no_grad():
        head.linears["res4"].weight.mul_(2)
        head.norm.running_mean.add_(1)
    torch.testing.assert_close(head(levels), plain(head, levels), atol=1e-5, rtol=1e-5)


def test_dropout_is_of_whole_channels_and_off_at_inference(head: SegFormerHead) -> None:
    head.dropout.p = 0.5
    head.predictor.weight.data = torch.eye(16)[:5, :, None, None].clone()  # shows channels
    head.predictor.bias.data.zero_()
    levels = features((64, 96))
    torch.manual_seed(0)
    head.train()
    kept = head(levels).flatten(2).amax(2) > 0
    assert 0 < kept.sum() < kept.numel()
    head.eval()
    torch.testing.assert_close(head(levels), plain(head, levels), atol=1e-5, rtol=1e-5)
