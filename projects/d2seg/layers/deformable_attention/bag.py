"""The sum of multi-scale deformable attention as bags of rows: the fast path of the CPU.

Zhu et al. 2021, equation 3. A head of a query is a bag, a head of a memory position is a row, and
``embedding_bag`` gathers and sums in one pass.

B batch, N queries, S memory positions, M heads, L levels, P points, K = L * P, D channels of a
head; G images of a group and n queries of a chunk of theirs.
"""

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from ..chunking import budget
from ..recording import is_recording
from .cells import Cells, cells_of, image_starts, levels_of

# points worked on at a time: some ten temporaries of this length stay in the caches of a core
_POINTS_AT_ONCE = budget(1 << 17)


def embedding_bag_sum(
    value: Tensor, x: Tensor, y: Tensor, weights: Tensor, spatial_shapes: list[tuple[int, int]]
) -> Tensor:
    """Weighted sum of bilinearly sampled values; arguments and result as of ``grid_sample_sum``.

    Computed in fp32 (fp64 if ``value`` is): bags of bf16 or fp16 rows take longer on a CPU.
    Differentiable once.
    """
    dtype = torch.promote_types(value.dtype, torch.float32)
    inputs = (tensor.to(dtype) for tensor in (value, x, y, weights))
    return _BagSum.apply(*inputs, spatial_shapes).to(value.dtype)


class _BagSum(torch.autograd.Function):
    """At a time a group of small images or a chunk of a large one's queries; all of one dtype."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        value: Tensor,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        spatial_shapes: list[tuple[int, int]],
    ) -> Tensor:
        ctx.save_for_backward(value, x, y, weights)
        ctx.spatial_shapes = spatial_shapes
        levels = levels_of(x, spatial_shapes)
        summed = value.new_empty(*x.shape[:3], value.shape[-1])  # (B, N, M, D)
        for images in _groups(x):
            values = value[images]
            table = values.flatten(0, 2)
            for queries in _chunks(x):
                chunk_x, chunk_y, attention = _points(images, queries, x, y, weights)
                cells = cells_of(chunk_x, chunk_y, levels, image_starts(values, len(chunk_x)))
                bags = F.embedding_bag(
                    cells.rows.flatten(2).flatten(0, 1),  # (n * M, 4 * K)
                    table,
                    mode="sum",
                    per_sample_weights=cells.weights(attention).flatten(2).flatten(0, 1),
                )
                chunk = summed[images, queries]
                chunk[:] = bags.view_as(chunk)
        return summed.flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        value, x, y, weights = ctx.saved_tensors
        levels = levels_of(x, ctx.spatial_shapes)
        grad = grad.reshape(*x.shape[:3], value.shape[-1])  # (B, N, M, D)
        grad_value = torch.zeros_like(value, memory_format=torch.contiguous_format)
        grad_points = x.new_empty(3, *x.shape)  # of x, y and the weights
        for images in _groups(x):
            values = value[images]
            table = values.flatten(0, 2)
            # where and with which weights the rows are read
            first_rows = torch.empty_like(x[images], dtype=torch.int32)
            row_weights = x.new_empty(4, *first_rows.shape)
            for queries in _chunks(x):
                chunk_x, chunk_y, attention = _points(images, queries, x, y, weights)
                cells = cells_of(chunk_x, chunk_y, levels, image_starts(values, len(chunk_x)))
                row_grads = _row_gradients(cells, table, grad[images, queries].flatten(0, 2))
                for whole, part in zip(
                    (*grad_points[:, images], first_rows, *row_weights),
                    (
                        *_point_gradients(cells, attention, row_grads),
                        cells.rows[:, :, 0],
                        *cells.weights(attention).unbind(2),
                    ),
                    strict=True,
                ):
                    chunk = whole[:, queries]
                    chunk[:] = part.view_as(chunk)
            _add_value_gradient(
                grad_value[images],
                first_rows.flatten(),
                row_weights.flatten(1),
                grad[images].flatten(0, 2),
                ctx.spatial_shapes,
            )
        return grad_value, *grad_points, None


def _groups(x: Tensor) -> Iterator[slice]:
    """Slices of the images of ``x`` (B, N, M, L, P): whose points make a chunk, or single ones."""
    return _POINTS_AT_ONCE.slices(len(x), x.shape[1:].numel(), x.device)


def _chunks(x: Tensor) -> Iterator[slice]:
    """Slices of the queries of ``x`` (B, N, M, L, P); a single one if a graph is being recorded."""
    if is_recording():
        return iter([slice(0, x.shape[1])])
    return _POINTS_AT_ONCE.slices(x.shape[1], x.shape[2:].numel(), x.device)


def _points(images: slice, queries: slice, *points: Tensor) -> list[Tensor]:
    """Some of the points (B, N, M, L, P), as (n, M, K)."""
    return [tensor[images, queries].flatten(0, 1).flatten(2) for tensor in points]


def _row_gradients(cells: Cells, table: Tensor, grad_bags: Tensor) -> Tensor:
    """Product of each row with its bag's gradient (n * M, D), (n, M, 4, K).

    A product of two matrices, of which only the elements are computed where a bag holds a row.
    """
    num_rows, num_bags = cells.rows.numel(), len(grad_bags)
    rows_per_bag = num_rows // num_bags
    if len(table) < rows_per_bag:  # a pattern holds no more elements than the whole product
        table = F.pad(table, (0, 0, 0, rows_per_bag - len(table)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(
            torch.arange(0, num_rows + 1, rows_per_bag, dtype=torch.int32, device=table.device),
            cells.rows.flatten(),
            table.new_zeros(num_rows),
            (num_bags, len(table)),
            check_invariants=False,  # columns are neither sorted nor unique, and need not be
        )
    torch.sparse.sampled_addmm(pattern, grad_bags, table.t(), beta=0, out=pattern)
    return pattern.values().view_as(cells.rows)


def _point_gradients(
    cells: Cells, attention: Tensor, row_grads: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, y and the attention weights, (n, M, K) each, from those of the rows."""
    upper_left, upper_right, lower_left, lower_right = row_grads.unbind(2)
    left, right, upper, lower = cells.negative_hats()
    slope_left, slope_right, slope_upper, slope_lower = cells.slopes()
    in_upper = (left * upper_left).addcmul_(right, upper_right)
    in_lower = (left * lower_left).addcmul_(right, lower_right)
    in_left = (upper * upper_left).addcmul_(lower, lower_left)
    in_right = (upper * upper_right).addcmul_(lower, lower_right)
    grad_x = slope_left.mul_(in_left).addcmul_(slope_right, in_right).mul_(attention)
    grad_y = slope_upper.mul_(in_upper).addcmul_(slope_lower, in_lower).mul_(attention)
    return grad_x, grad_y, upper.mul_(in_upper).addcmul_(lower, in_lower)


def _add_value_gradient(
    grad_value: Tensor,
    first_rows: Tensor,
    row_weights: Tensor,
    grad_bags: Tensor,
    spatial_shapes: list[tuple[int, int]],
) -> None:
    """Add to the gradient of a group's values, in place.

    The same sum over the transposed pattern: each row is now a bag of the bags that read it. One
    sort serves all four rows of a cell, which lie at fixed distances.

    Args:
        grad_value: (G, S, M, D).
        first_rows: (G * N * M * K,), int32, the upper left row of each point.
        row_weights: (4, G * N * M * K).
        grad_bags: (G * N * M, D).
    """
    order = first_rows.sort(stable=True).indices.to(torch.int32)  # stable means a radix sort
    counts = torch.bincount(first_rows, minlength=grad_value.shape[:3].numel())
    bounds = F.pad(counts.cumsum(0, dtype=torch.int32), (1, 0))
    bags = order.div(len(first_rows) // len(grad_bags), rounding_mode="floor")
    for corner, weights in enumerate(row_weights):
        part = F.embedding_bag(
            bags,
            grad_bags,
            bounds,
            mode="sum",
            per_sample_weights=weights.index_select(0, order),
            include_last_offset=True,
        ).view_as(grad_value)
        start = 0
        for height, width in spatial_shapes:
            end = start + height * width
            shift = (width if corner >= 2 else 0) + corner % 2  # pixels from the upper left one
            grad_value[:, start + shift : end] += part[:, start : max(start, end - shift)]
            start = end
