"""A convolution with its norm and activation."""

from collections.abc import Callable

from detectron2.layers import Conv2d, get_norm
from torch import Tensor, nn


def conv_norm(
    in_channels: int,
    channels: int,
    kernel_size: int = 1,
    *,
    norm: str | nn.Module,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    activation: Callable[[Tensor], Tensor] | None = None,
    fill: Callable[[nn.Module], None] | None = None,
) -> Conv2d:
    """detectron2's convolution; at stride 1 and with an odd kernel the size stays.

    Args:
        norm: the norm itself, or a name that detectron2's ``get_norm`` takes; "" for none.
        activation: behind the norm.
        fill: initialises the convolution, else as PyTorch does.
    """
    conv = Conv2d(
        in_channels,
        channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        bias=bias,
        norm=get_norm(norm, channels) if isinstance(norm, str) else norm,
        activation=activation,
    )
    if fill is not None:
        fill(conv)
    return conv
