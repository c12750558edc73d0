"""Two-dimensional sine position encoding (Vaswani et al. 2017, section 3.5, on images as in
Parmar et al. 2018), with coordinates normalised to (0, 2 pi] as in DETR (Carion et al. 2020)."""

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .recording import is_recording


def sine_position_encoding(
    height: int,
    width: int,
    channels: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    temperature: float = 10000.0,
) -> Tensor:
    """Encoding of every cell of a (height, width) grid, of shape (channels, height, width).

    The first half of the channels encodes y, the second x; within a half, sine and cosine of each
    frequency alternate. Results are kept: callers must not write into them. Those without values
    of their own, made while a graph is recorded or on the meta device, are not.

    Raises:
        ValueError: ``channels`` is not a multiple of 4.
    """
    if channels % 4:
        raise ValueError(f"the position encoding needs channels in multiples of 4, got {channels}")
    has_values = not is_recording() and device.type != "meta"
    encode = _kept_encoding if has_values else _encoding
    return encode(height, width, channels, device, dtype, temperature)


def _encoding(
    height: int,
    width: int,
    channels: int,
    device: torch.device,
    dtype: torch.dtype,
    temperature: float,
) -> Tensor:
    index = torch.arange(channels // 4, dtype=torch.float32, device=device)  # fp32 throughout
    frequency = temperature ** (-index / (channels // 4))  # (C/4,)

    def encode(length: int) -> Tensor:  # (C/2, length)
        position = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        position = position / (length + 1e-6) * (2 * math.pi)
        angle = frequency[:, None] * position[None]
        return torch.stack([angle.sin(), angle.cos()], dim=1).flatten(0, 1)

    y = encode(height)[:, :, None].expand(-1, -1, width)
    x = encode(width)[:, None, :].expand(-1, height, -1)
    return torch.cat([y, x]).to(dtype)


@lru_cache(maxsize=32)
def _kept_encoding(*arguments: Any) -> Tensor:
    # without autograd or inference mode, because the result outlives the call; not in what is
    # recorded, where leaving inference mode would switch gradients on
    with torch.inference_mode(False), torch.no_grad():
        return _encoding(*arguments)
