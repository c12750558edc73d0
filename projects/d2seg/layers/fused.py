"""Layers whose ReLU, and the addition of a residual before it, oneDNN does while a result is in the
cache, instead of in passes of their own over all of it: for inference on a CPU.

``acceleration.py`` puts them in the place of the plain layers, which they are where the operators
do not serve: torch compiles models into calls of them, but promises them to nobody.

B batch, C channels, (h, w) a map.
"""

from functools import lru_cache

import torch
from detectron2.layers import CNNBlockBase, Conv2d
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from .activated import LinearReLU
from .recording import is_recording

_RELUS = (F.relu, F.relu_, torch.relu, torch.relu_)


class FusedLinearReLU(LinearReLU):
    """A linear layer and its ReLU in one pass."""

    @classmethod
    def of(cls, layer: LinearReLU) -> "FusedLinearReLU":
        """The same with that layer's own parameters."""
        fused = cls(layer.in_features, layer.out_features, device="meta")
        fused.weight, fused.bias = layer.weight, layer.bias
        return fused.train(layer.training)

    def forward(self, features: Tensor) -> Tensor:
        if not _is_served(features, self.weight):
            return super().forward(features)
        return torch.ops.mkldnn._linear_pointwise(features, self.weight, self.bias, "relu", [], "")


class FusedConv2d(nn.Conv2d):
    """A convolution, the addition of a map and the ReLU in one pass."""

    def __init__(self, conv: nn.Conv2d, has_relu: bool) -> None:
        """``conv``: its parameters become this one's; what else it does, as a norm, is left out."""
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.has_relu = has_relu
        self.train(conv.training)

    def forward(self, features: Tensor, added: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C', h', w'). ``added``: of the result's size; it stays as it is."""
        # oneDNN does not add to groups, and torch then has nothing for bf16
        is_served = _is_served(features, self.weight, added) and (added is None or self.groups == 1)
        if not is_served:
            return self._in_passes(features, added)
        arguments = (self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups)
        convolution = torch.ops.mkldnn._convolution_pointwise
        if added is None:
            return convolution(features, *arguments, "relu" if self.has_relu else "none", [], "")
        relu = ("relu", [], "") if self.has_relu else (None, [], None)
        # nor to channels first
        features = features.contiguous(memory_format=torch.channels_last)
        return convolution.binary(features, added, *arguments, "add", None, *relu)

    def _in_passes(self, features: Tensor, added: Tensor | None) -> Tensor:
        result = super().forward(features)
        if added is not None:
            result = result + added
        return F.relu(result, inplace=True) if self.has_relu else result


class FusedResidualBlock(CNNBlockBase):
    """detectron2's ``BottleneckBlock`` or ``BasicBlock``, (B, C, h, w) -> (B, C', h', w')."""

    def __init__(self, block: BottleneckBlock | BasicBlock) -> None:
        super().__init__(block.in_channels, block.out_channels, block.stride)
        self._path = [name for name in ("conv1", "conv2", "conv3") if hasattr(block, name)]
        for name in self._path:
            setattr(self, name, FusedConv2d(getattr(block, name), has_relu=True))
        self.shortcut = None
        if block.shortcut is not None:
            self.shortcut = FusedConv2d(block.shortcut, has_relu=False)

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features if self.shortcut is None else self.shortcut(features)
        *first, last = self._path
        for name in first:
            features = getattr(self, name)(features)
        return getattr(self, last)(features, shortcut)


class FusedStem(CNNBlockBase):
    """detectron2's ``BasicStem``, (B, C, H, W) -> (B, C', H / 4, W / 4)."""

    def __init__(self, stem: BasicStem) -> None:
        super().__init__(stem.in_channels, stem.out_channels, stem.stride)
        self.conv1 = FusedConv2d(stem.conv1, has_relu=True)

    def forward(self, images: Tensor) -> Tensor:
        return F.max_pool2d(self.conv1(images), kernel_size=3, stride=2, padding=1)


def linear(features: Tensor, weight: Tensor) -> Tensor:
    """``F.linear`` without a bias, (..., in), (out, in) -> (..., out): oneDNN's product, where it
    serves, which is faster than MKL's for some hundred columns on processors with AVX2."""
    if not _is_served(features, weight):
        return F.linear(features, weight)
    return torch.ops.mkldnn._linear_pointwise(features, weight, None, "none", [], "")


def fuse(module: nn.Module) -> nn.Module | None:
    """What takes the place of one module; ``None``: nothing does. Batch norms are folded before;
    who hooked into a module, or computes its weights, keeps it."""
    if any(map(_is_watched, module.modules())):
        return None
    if type(module) is LinearReLU:
        return FusedLinearReLU.of(module)
    if type(module) in (BottleneckBlock, BasicBlock):
        convs = [conv for conv in module.children() if isinstance(conv, nn.Conv2d)]
        is_plain = all(_is_plain(conv) and conv.activation is None for conv in convs)
        return FusedResidualBlock(module) if is_plain else None
    if type(module) is BasicStem:
        conv = module.conv1
        return FusedStem(module) if _is_plain(conv) and conv.activation is None else None
    if isinstance(module, Conv2d) and _is_plain(module):
        return FusedConv2d(module, has_relu=module.activation is not None)
    return None


def _is_watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks) or is_parametrized(module)


def _is_plain(conv: nn.Module) -> bool:
    """Whether a convolution of detectron2 pads with zeros, if at all, and has no norm, and no
    activation but ReLU."""
    if not isinstance(conv, Conv2d) or conv.norm is not None:
        return False
    is_relu = conv.activation in _RELUS or isinstance(conv.activation, nn.ReLU)
    pads_with_zeros = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return pads_with_zeros and (conv.activation is None or is_relu)


def _is_served(features: Tensor, weight: Tensor, added: Tensor | None = None) -> bool:
    """Whether the fused operators take these: they know no gradients and no autocast."""
    return (
        not is_recording()
        and not torch.is_grad_enabled()
        and features.device.type == "cpu"
        and features.dtype == weight.dtype
        and features.numel() > 0
        and (added is None or added.dtype == weight.dtype)
        and torch.backends.mkldnn.enabled
        and works(weight.dtype)
    )


@lru_cache
def works(dtype: torch.dtype) -> bool:
    """Whether this torch has the fused operators, and they give what the plain ones give."""
    supported = {
        torch.float32: lambda: torch.backends.mkldnn.is_available(),
        torch.bfloat16: lambda: torch.ops.mkldnn._is_mkldnn_bf16_supported(),
        torch.float16: lambda: torch.ops.mkldnn._is_mkldnn_fp16_supported(),
    }
    try:
        return dtype in supported and bool(supported[dtype]()) and _agrees(dtype)
    except (AttributeError, RuntimeError):  # no such operator, or with other arguments
        return False


def _agrees(dtype: torch.dtype) -> bool:
    maps = torch.linspace(-1, 1, 64).view(1, 4, 4, 4).to(dtype, memory_format=torch.channels_last)
    weight = torch.linspace(-1, 1, 144).view(4, 4, 3, 3).to(dtype)
    matrix, bias = weight[..., 0, 0].contiguous(), torch.linspace(-1, 1, 4).to(dtype)
    arguments = (weight, bias, [1, 1], [1, 1], [1, 1], 1)  # padding, stride, dilation, groups
    conv, product = torch.ops.mkldnn._convolution_pointwise, torch.ops.mkldnn._linear_pointwise
    plain = F.conv2d(maps, weight, bias, padding=1)
    pairs = [
        (conv(maps, *arguments, "none", [], ""), plain),
        (conv(maps, *arguments, "relu", [], ""), F.relu(plain)),
        (conv.binary(maps, maps, *arguments, "add", None, "relu", [], ""), F.relu(plain + maps)),
        (product(maps, matrix, None, "none", [], ""), F.linear(maps, matrix)),
        (product(maps, matrix, bias, "relu", [], ""), F.relu(F.linear(maps, matrix, bias))),
    ]
    tolerance = 1e-4 if dtype == torch.float32 else 5e-2
    return all(torch.allclose(found, expected, tolerance, tolerance) for found, expected in pairs)
