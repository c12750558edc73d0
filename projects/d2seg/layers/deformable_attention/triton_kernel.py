"""The sum of multi-scale deformable attention in Triton, for CUDA devices.

Zhu et al. 2021, equation 3. A program takes a block of queries of one image and head, with all
channels of the head, and goes through the points. Sums are in fp32 whatever the inputs.

B batch, N queries, S memory positions, M heads, L levels, P points, D channels of a head.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

_QUERIES_PER_PROGRAM = 32


def triton_sum(
    value: Tensor, x: Tensor, y: Tensor, weights: Tensor, spatial_shapes: list[tuple[int, int]]
) -> Tensor:
    """Weighted sum of bilinearly sampled values; arguments and result as of ``grid_sample_sum``.

    ``value`` in fp32, bf16 or fp16. Differentiable once.
    """
    points = (tensor.float() for tensor in (x, y, weights))
    return _TritonSum.apply(value, *points, spatial_shapes)


class _TritonSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        value: Tensor,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        spatial_shapes: list[tuple[int, int]],
    ) -> Tensor:
        value, x, y, weights = (t.contiguous() for t in (value, x, y, weights))
        levels = _levels_on(value.device, spatial_shapes)
        ctx.save_for_backward(value, x, y, weights, levels)
        summed = value.new_empty(*x.shape[:3], value.shape[-1])  # (B, N, M, D)
        with torch.cuda.device_of(value):  # kernels start on the current device, whatever it is
            _forward_kernel[_grid(x)](value, x, y, weights, levels, summed, *_sizes(value, x))
        return summed.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        value, x, y, weights, levels = ctx.saved_tensors
        # fp32: many bf16 numbers added one by one would be lost
        grad_value = torch.zeros_like(value, dtype=torch.float32)
        grad_points = [torch.empty_like(x) for _ in range(3)]
        tensors = (value, x, y, weights, levels, grad.contiguous(), grad_value, *grad_points)
        with torch.cuda.device_of(value):
            _backward_kernel[_grid(x)](*tensors, *_sizes(value, x))
        return grad_value.to(value.dtype), *grad_points, None


def _levels_on(device: torch.device, spatial_shapes: list[tuple[int, int]]) -> Tensor:
    """Height, width and first memory position of each level, (L, 3)."""
    areas = [height * width for height, width in spatial_shapes]
    rows = [(*shape, sum(areas[:level])) for level, shape in enumerate(spatial_shapes)]
    return torch.tensor(rows, dtype=torch.int32).to(device, non_blocking=True)


def _grid(x: Tensor) -> tuple[int, int]:
    # the heads of a query side by side: they read the same part of the memory
    batch, num_queries, num_heads = x.shape[:3]
    return num_heads * triton.cdiv(num_queries, _QUERIES_PER_PROGRAM), batch


def _sizes(value: Tensor, x: Tensor) -> tuple[int, ...]:
    channels = value.shape[-1]
    block = triton.next_power_of_2(channels)
    return (value.shape[1], *x.shape[1:], channels, _QUERIES_PER_PROGRAM, block)


@triton.jit
def _split(position, size):
    """First pixel of the pair around each position, and the distance to it in [0, 1)."""
    # what is farther outside has no pixel either, and might not be an int32
    position = tl.minimum(tl.maximum(position, -2.0), size + 1.0)
    first = tl.floor(position)
    return first.to(tl.int32), position - first


@triton.jit
def _pixels(
    row, column, corner: tl.constexpr, height, width, first, channel, mask,
    M: tl.constexpr, D: tl.constexpr,
):  # fmt: skip
    """Offsets of the channels of one of four pixels per query, and which of them exist."""
    row += corner // 2
    column += corner % 2
    is_inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    offset = first + (row * width + column).to(tl.int64)[:, None] * (M * D) + channel[None, :]
    return offset, mask & is_inside[:, None]


@triton.jit
def _forward_kernel(
    value, x, y, weights, levels, summed, S, N,
    M: tl.constexpr, L: tl.constexpr, P: tl.constexpr, D: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) % M
    query = tl.program_id(0) // M * BLOCK_N + tl.arange(0, BLOCK_N)
    image = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, BLOCK_D)
    is_query = query < N
    mask = is_query[:, None] & (channel < D)[None, :]
    bag = (image * N + query) * M + head
    total = tl.zeros([BLOCK_N, BLOCK_D], dtype=tl.float32)
    for level in range(L):
        height = tl.load(levels + level * 3)
        width = tl.load(levels + level * 3 + 1)
        start = tl.load(levels + level * 3 + 2)
        first = ((image * S + start) * M + head) * D
        for point in range(P):
            at = bag * (L * P) + level * P + point
            column, right = _split(tl.load(x + at, mask=is_query, other=0.0), width)
            row, lower = _split(tl.load(y + at, mask=is_query, other=0.0), height)
            weight = tl.load(weights + at, mask=is_query, other=0.0)
            for corner in tl.static_range(4):
                offset, exists = _pixels(
                    row, column, corner, height, width, first, channel, mask, M, D
                )
                pixel = tl.load(value + offset, mask=exists, other=0.0).to(tl.float32)
                factor_y = lower if corner >= 2 else 1.0 - lower
                factor_x = right if corner % 2 else 1.0 - right
                total += (weight * factor_y * factor_x)[:, None] * pixel
    out = summed + bag[:, None] * D + channel[None, :]
    tl.store(out, total.to(summed.dtype.element_ty), mask=mask)


@triton.jit
def _backward_kernel(
    value, x, y, weights, levels, grad_summed, grad_value, grad_x, grad_y, grad_weights, S, N,
    M: tl.constexpr, L: tl.constexpr, P: tl.constexpr, D: tl.constexpr,
    BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(0) % M
    query = tl.program_id(0) // M * BLOCK_N + tl.arange(0, BLOCK_N)
    image = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, BLOCK_D)
    is_query = query < N
    mask = is_query[:, None] & (channel < D)[None, :]
    bag = (image * N + query) * M + head
    grad = tl.load(grad_summed + bag[:, None] * D + channel[None, :], mask=mask, other=0.0)
    grad = grad.to(tl.float32)
    for level in range(L):
        height = tl.load(levels + level * 3)
        width = tl.load(levels + level * 3 + 1)
        start = tl.load(levels + level * 3 + 2)
        first = ((image * S + start) * M + head) * D
        for point in range(P):
            at = bag * (L * P) + level * P + point
            column, right = _split(tl.load(x + at, mask=is_query, other=0.0), width)
            row, lower = _split(tl.load(y + at, mask=is_query, other=0.0), height)
            weight = tl.load(weights + at, mask=is_query, other=0.0)
            along_x = tl.zeros([BLOCK_N], dtype=tl.float32)
            along_y = tl.zeros([BLOCK_N], dtype=tl.float32)
            sampled = tl.zeros([BLOCK_N], dtype=tl.float32)
            for corner in tl.static_range(4):
                offset, exists = _pixels(
                    row, column, corner, height, width, first, channel, mask, M, D
                )
                pixel = tl.load(value + offset, mask=exists, other=0.0).to(tl.float32)
                product = tl.sum(pixel * grad, axis=1)
                factor_y = lower if corner >= 2 else 1.0 - lower
                factor_x = right if corner % 2 else 1.0 - right
                along_x += product * factor_y * (1.0 if corner % 2 else -1.0)
                along_y += product * factor_x * (1.0 if corner >= 2 else -1.0)
                sampled += product * factor_y * factor_x
                part = (weight * factor_y * factor_x)[:, None] * grad
                tl.atomic_add(grad_value + offset, part, mask=exists, sem="relaxed")
            tl.store(grad_x + at, along_x * weight, mask=is_query)
            tl.store(grad_y + at, along_y * weight, mask=is_query)
            tl.store(grad_weights + at, sampled, mask=is_query)
