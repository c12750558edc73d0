"""Multi-scale deformable attention (Zhu et al. 2021, Deformable DETR, section 4.1).

B batch, N queries, S memory positions of all levels one after the other, each level row by row,
C channels, M heads, L levels, P points of a head in a level.
"""

import math
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..recording import is_recording
from .bag import embedding_bag_sum
from .gathered import gathered_sum
from .pointwise import pointwise_sum
from .reference import grid_sample_sum

SumOf = Callable[..., Tensor]
IMPLEMENTATIONS = ("auto", "grid_sample", "embedding_bag", "triton")


class MultiScaleDeformableAttention(nn.Module):
    """Each query gathers a few values from every level, at places that it predicts itself."""

    def __init__(
        self,
        dim: int,
        num_levels: int,
        num_heads: int,
        num_points: int,
        implementation: str = "auto",
    ) -> None:
        """
        Args:
            implementation: how the sampled values are gathered; all give the same result.
                "grid_sample": plain PyTorch, runs everywhere, differentiable and exportable.
                "embedding_bag": the fast one on CPUs.
                "triton": the fast one on CUDA devices, and only there.
                "auto": by the device of the input, "triton" on CUDA if it is installed,
                "embedding_bag" on a CPU and "grid_sample" elsewhere.
                A recorded graph holds plain operators, whatever the choice: :attr:`records_bags`.

        Raises:
            ValueError: ``dim`` is not a multiple of ``num_heads``, or ``implementation`` is unknown
                or cannot run here.
        """
        super().__init__()
        if dim % num_heads:
            raise ValueError(
                f"deformable attention: {dim} channels do not divide by {num_heads} heads"
            )
        self.num_levels, self.num_heads, self.num_points = num_levels, num_heads, num_points
        points = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(dim, points * 2)  # ordered as (M, L, P, 2), x before y
        self.attention_weights = nn.Linear(dim, points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self._sum_of = choose_implementation(implementation)
        #: whether a recorded graph holds :func:`gathered_sum`, for runtimes that have a bag, or
        #: :func:`pointwise_sum`, which runs everywhere at any size
        self.records_bags = False
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Zhu et al. 2021, appendix A.4: head m looks in direction 2 pi m / M, point p at the
        distance p + 1, all with equal weights."""
        angle = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction /= direction.abs().amax(-1, keepdim=True)  # onto a square, as published
        distance = torch.arange(1, self.num_points + 1)
        offsets = direction[:, None, None] * distance[:, None]  # (M, 1, P, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, self.num_levels, -1, -1).flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        queries: Tensor,
        reference_points: Tensor,
        memory: Tensor,
        spatial_shapes: list[tuple[int, int]],
    ) -> Tensor:
        """
        Args:
            queries: (B, N, C), positions already added.
            reference_points: (B or 1, N, L, 2), (x, y) in [0, 1] from the upper left to the lower
                right corner of a level. In fp32 whatever the dtype of the rest, for its precision.
            memory: (B, S, C).
            spatial_shapes: (height, width) of each of the L levels.

        Returns:
            (B, N, C), with the output projection, without residual or norm.

        Raises:
            ValueError: ``spatial_shapes`` does not fit ``memory`` or the number of levels.
        """
        num_positions = sum(height * width for height, width in spatial_shapes)
        if len(spatial_shapes) != self.num_levels or num_positions != memory.shape[1]:
            raise ValueError(
                f"deformable attention: {memory.shape[1]} memory positions in {self.num_levels} "
                f"levels expected, spatial_shapes {spatial_shapes} says otherwise"
            )
        value = self.value_proj(memory).unflatten(-1, (self.num_heads, -1))  # (B, S, M, D)
        *offsets, logits = self._project(queries)
        centres = self._in_pixels(reference_points, spatial_shapes).unbind(2)
        grid = (self.num_levels, self.num_points)
        weights = _short_softmax(logits).unflatten(-1, grid)  # (B, N, M, L, P)
        if is_recording() and self.records_bags:
            summed = gathered_sum(value, offsets, centres, weights, spatial_shapes)
        else:
            x, y = ((a + b).unflatten(-1, grid) for a, b in zip(offsets, centres, strict=True))
            sum_of = pointwise_sum if is_recording() else self._sum_of
            summed = sum_of(value, x, y, weights, spatial_shapes)
        return self.output_proj(summed)

    def _project(self, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Offsets in pixels, x and y, and attention logits, (B, N, M, L * P) each."""
        offsets, logits = self.sampling_offsets, self.attention_weights
        weights = [*offsets.weight.unflatten(0, (-1, 2)).unbind(1), logits.weight]
        biases = [*offsets.bias.unflatten(0, (-1, 2)).unbind(1), logits.bias]
        if is_recording():  # runtimes copy what they take of a larger product
            parts = (F.linear(queries, *of_part) for of_part in zip(weights, biases, strict=True))
        else:
            parts = F.linear(queries, torch.cat(weights), torch.cat(biases)).chunk(3, dim=-1)
        x, y, attention = (part.unflatten(-1, (self.num_heads, -1)) for part in parts)
        return x, y, attention

    def _in_pixels(self, reference_points: Tensor, spatial_shapes: list[tuple[int, int]]) -> Tensor:
        """Pixel coordinates of the reference points, (B or 1, N, 2, 1, L * P); 0 is the centre of
        the first pixel. In fp32 at least: bf16 tells no pixels apart beyond 256."""
        reference_points = reference_points.to(
            torch.promote_types(reference_points.dtype, torch.float32)
        )
        if is_recording():  # a tensor of sizes would hold the example's in a graph for all sizes
            scaled = [
                torch.stack([points[..., 0] * width, points[..., 1] * height], dim=-1)
                for points, (height, width) in zip(
                    reference_points.unbind(2), spatial_shapes, strict=True
                )
            ]
            pixels = torch.stack(scaled, dim=-1) - 0.5  # (B or 1, N, 2, L)
            return pixels.repeat_interleave(self.num_points, dim=-1).unsqueeze(-2)
        sizes = reference_points.new_tensor([(width, height) for height, width in spatial_shapes])
        pixels = (reference_points * sizes - 0.5).transpose(-1, -2)  # (B or 1, N, 2, L)
        return pixels.repeat_interleave(self.num_points, dim=-1).unsqueeze(-2)


def _short_softmax(logits: Tensor) -> Tensor:
    """Softmax over a last dimension of some ten elements, in fp32 at least.

    PyTorch's own takes one row at a time, which is six times slower on a CPU when rows are short.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if logits.device.type != "cpu":
        return logits.softmax(-1)
    weights = (logits - logits.detach().amax(-1, keepdim=True)).exp_()
    return weights / weights.sum(-1, keepdim=True)


def choose_implementation(name: str) -> SumOf:
    """The function behind one of ``IMPLEMENTATIONS``, see :class:`MultiScaleDeformableAttention`.

    Raises:
        ValueError: the name is unknown, or what it needs is not here.
    """
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"{name!r} is unknown; choose from {', '.join(IMPLEMENTATIONS)}")
    if name == "triton":
        missing = [
            what
            for what, is_there in (
                ("a CUDA device", torch.cuda.is_available()),
                ("the package triton", find_spec("triton")),
            )
            if not is_there
        ]
        if missing:
            raise ValueError(f"'triton' needs {' and '.join(missing)}; choose 'auto'")
    return {
        "auto": _sum_by_device,
        "grid_sample": grid_sample_sum,
        "embedding_bag": embedding_bag_sum,
        "triton": _triton_sum,
    }[name]


def _sum_by_device(value: Tensor, *points: Tensor | list[tuple[int, int]]) -> Tensor:
    if value.device.type == "cpu":
        return embedding_bag_sum(value, *points)
    if value.is_cuda and find_spec("triton"):
        return _triton_sum(value, *points)
    return grid_sample_sum(value, *points)


def _triton_sum(*arguments: Tensor | list[tuple[int, int]]) -> Tensor:
    from .triton_kernel import triton_sum  # needs triton, which only CUDA builds bring

    return triton_sum(*arguments)
