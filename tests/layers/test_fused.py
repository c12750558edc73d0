"""Fused layers: the plain ones are the reference, and serve where the operators do not."""

import copy

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from torch import nn
from torch.nn import functional as F

from d2seg.acceleration import fold_batch_norms, fuse_activations
from d2seg.layers import MLP, fused
from d2seg.layers.fused import FusedConv2d, FusedLinearReLU, linear

needs_operators = pytest.mark.skipif(
    not fused.works(torch.float32), reason="this torch has no oneDNN with the fused operators"
)


def small_net() -> nn.Module:
    """Everything that is fused, and a norm behind which nothing is."""
    torch.manual_seed(0)
    net = nn.Sequential(
        BasicStem(3, 8),
        BottleneckBlock(8, 16, bottleneck_channels=4, stride=2),
        BottleneckBlock(16, 16, bottleneck_channels=4, num_groups=2),
        BasicBlock(16, 16),
        BasicBlock(16, 8, stride=2),
        Conv2d(8, 8, 3, padding=1, activation=F.relu_),
        Conv2d(8, 8, 3, padding=1, activation=nn.ReLU()),
        Conv2d(8, 8, 1, norm=nn.GroupNorm(2, 8), activation=F.relu),
        Conv2d(8, 4, 1),
        nn.Flatten(2),
        MLP(4, 12, 6, 3),
    )
    for module in net.modules():
        if isinstance(module, FrozenBatchNorm2d):
            for tensor in module.state_dict().values():
                tensor.uniform_(0.5, 1.5)
    return net.eval()


@needs_operators
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_outputs_and_names_stay(layout: torch.memory_format) -> None:
    net = small_net()
    images = torch.randn(2, 3, 32, 32).to(memory_format=layout)
    with torch.no_grad():
        fold_batch_norms(net)
        plain = copy.deepcopy(net)
        assert fuse_activations(net) == 10
        net.to(memory_format=layout)
        assert net.state_dict().keys() == plain.state_dict().keys()
        kinds = [type(module) for module in net.modules()]
        assert kinds.count(FusedConv2d) == 16
        assert kinds.count(FusedLinearReLU) == 2
        torch.testing.assert_close(net(images), plain(images), atol=1e-5, rtol=1e-5)


@needs_operators
def test_the_operators_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the ReLU and the addition, which a map's own pass would make."""
    conv = Conv2d(4, 4, 3, padding=1)
    fused_conv, x = FusedConv2d(conv, has_relu=True), torch.randn(1, 4, 5, 5)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pass of its own")

    monkeypatch.setattr(F, "relu", refuse)
    with torch.no_grad():
        result = fused_conv(x, x)
    torch.testing.assert_close(result, (conv(x) + x).clamp(min=0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("with_addition", [False, True])
@pytest.mark.parametrize(
    "why", ["gradients", "no operator", "turned off", "other dtype", "nothing", "recorded"]
)
def test_the_plain_layers_serve_where_the_operators_do_not(
    why: str, with_addition: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv, x = FusedConv2d(Conv2d(4, 4, 3, padding=1), has_relu=True), torch.randn(1, 4, 5, 5)
    added = torch.randn(1, 4, 5, 5) if with_addition else None
    with torch.no_grad():
        expected = conv._in_passes(x, added)
    if why == "gradients":
        result = conv(x, added)
        result.sum().backward()
        assert conv.weight.grad is not None
    elif why == "no operator":
        monkeypatch.setattr(fused, "works", lambda _: False)
        with torch.no_grad():
            result = conv(x, added)
    elif why == "turned off":
        with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
            result = conv(x, added)
    elif why == "other dtype":
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            result = conv.bfloat16()(x, added)
        assert torch.isfinite(result).all()
        return
    elif why == "nothing":
        with torch.no_grad():
            assert conv(x[:0], None if added is None else added[:0]).shape == (0, 4, 5, 5)
        return
    else:
        with torch.no_grad():
            arguments = (x,) if added is None else (x, added)
            graph = torch.jit.trace(conv, arguments)
        assert "mkldnn" not in str(graph.graph)
        result = graph(*arguments)
    torch.testing.assert_close(result.detach(), expected, atol=1e-5, rtol=1e-5)


needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no bf16 here"
)


@needs_bf16
@torch.inference_mode()
def test_bf16_is_fused_too() -> None:
    assert fused.works(torch.bfloat16)
    net, images = small_net(), torch.randn(2, 3, 32, 32)
    fold_batch_norms(net)
    expected = net(images)
    fuse_activations(net)
    result = net.bfloat16()(images.bfloat16())
    torch.testing.assert_close(result.float(), expected, atol=0.03 * expected.std(), rtol=0.03)


@needs_bf16
@torch.inference_mode()
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("groups", [1, 2])
def test_what_onednn_does_not_add_to(groups: int, layout: torch.memory_format) -> None:
    conv = FusedConv2d(nn.Conv2d(4, 4, 3, padding=1, groups=groups), has_relu=True).bfloat16()
    maps, added = torch.randn(2, 1, 4, 5, 5, dtype=torch.bfloat16)
    result = conv(maps.contiguous(memory_format=layout), added)
    torch.testing.assert_close(result, conv._in_passes(maps, added), atol=0.03, rtol=0.03)


def test_an_operator_with_other_arguments_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def changed(*_: object) -> None:
        raise RuntimeError("expected at most 9 arguments")

    fused.works.cache_clear()
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", changed)
    assert not fused.works(torch.float32)
    assert fuse_activations(small_net()) == 0
    fused.works.cache_clear()


def test_other_layers_stay() -> None:
    def sigmoid(x: torch.Tensor) -> torch.Tensor:
        return x.sigmoid()

    for module in (
        Conv2d(4, 4, 1, activation=sigmoid),
        Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        Conv2d(4, 4, 3, padding="same"),
        Conv2d(4, 4, 1, norm=nn.BatchNorm2d(4)),
        BottleneckBlock(4, 4, bottleneck_channels=2),  # its norms are not folded
        BasicStem(3, 4),
        nn.Linear(4, 4),
    ):
        assert fused.fuse(module) is None


def test_who_hooks_into_a_module_keeps_it() -> None:
    hooked = small_net()
    fold_batch_norms(hooked)
    hooked[1].conv2.register_forward_hook(lambda *_: None)
    torch.nn.utils.parametrizations.weight_norm(hooked[5])
    assert fused.fuse(hooked[1]) is None
    assert fused.fuse(hooked[5]) is None
    assert fused.fuse(hooked[2]) is not None


@pytest.mark.parametrize("has_operator", [True, False])
def test_product(has_operator: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_operator:
        monkeypatch.setattr(fused, "works", lambda _: False)
    features, weight = torch.randn(3, 5, 7), torch.randn(4, 7)
    with torch.no_grad():
        result = linear(features, weight)
    torch.testing.assert_close(result, features @ weight.T)
