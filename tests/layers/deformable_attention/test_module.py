"""The module against transformers' with the same weights; initial values; errors."""

import math

import pytest
import torch
from torch import Tensor, nn
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention as TransformersAttention,
)

from d2seg.layers import MultiScaleDeformableAttention

SHAPES = [(3, 5), (6, 9), (11, 18)]
CPU_IMPLEMENTATIONS = ["grid_sample", "embedding_bag", "auto"]


def inputs(batch: int = 2, queries: int = 13, dim: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, reference points and memory."""
    torch.manual_seed(0)
    positions = sum(h * w for h, w in SHAPES)
    reference_points = torch.rand(batch, queries, 3, 2)
    return torch.randn(batch, queries, dim), reference_points, torch.randn(batch, positions, dim)


def random_attention(implementation: str, points: int = 4) -> MultiScaleDeformableAttention:
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention(32, 3, 4, points, implementation)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.2)
    return attention


@pytest.mark.parametrize("implementation", CPU_IMPLEMENTATIONS)
@pytest.mark.parametrize("points", [1, 4])
def test_equals_transformers(implementation: str, points: int) -> None:
    attention = random_attention(implementation, points)
    reference = TransformersAttention(embed_dim=32, num_heads=4, n_levels=3, n_points=points)
    reference.load_state_dict(attention.state_dict())
    queries, reference_points, memory = inputs()
    [expected, *_] = reference(
        queries,
        encoder_hidden_states=memory,
        reference_points=reference_points,
        spatial_shapes_list=SHAPES,
        level_start_index=torch.tensor([0, 15, 69]),
    )
    actual = attention(queries, reference_points, memory, SHAPES)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_grid_sample() -> None:
    gradients = []
    for implementation in ("grid_sample", "embedding_bag"):
        attention = random_attention(implementation)
        tensors = [tensor.requires_grad_() for tensor in inputs()]
        output = attention(*tensors, SHAPES)
        output.square().mean().backward()
        gradients.append([tensor.grad for tensor in (*tensors, *attention.parameters())])
    for ours, reference in zip(*gradients, strict=True):
        assert reference.abs().max() > 0
        torch.testing.assert_close(ours, reference, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("implementation", CPU_IMPLEMENTATIONS)
def test_one_set_of_reference_points_serves_a_batch(implementation: str) -> None:
    attention = random_attention(implementation)
    queries, reference_points, memory = inputs()
    one = reference_points[:1]
    with torch.no_grad():
        torch.testing.assert_close(
            attention(queries, one, memory, SHAPES),
            attention(queries, one.expand(2, -1, -1, -1), memory, SHAPES),
        )


@pytest.mark.parametrize("implementation", CPU_IMPLEMENTATIONS)
def test_bf16_keeps_its_dtype_and_its_distance(implementation: str) -> None:
    attention = random_attention(implementation)
    queries, reference_points, memory = inputs()
    with torch.no_grad():
        expected = attention(queries, reference_points, memory, SHAPES)
        with torch.autocast("cpu", torch.bfloat16):
            automatic = attention(queries, reference_points, memory, SHAPES)
        attention.bfloat16()
        short = attention(queries.bfloat16(), reference_points, memory.bfloat16(), SHAPES)
    for actual in (automatic, short):
        assert actual.dtype == torch.bfloat16
        assert (actual.float() - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("implementation", CPU_IMPLEMENTATIONS)
def test_export_and_compile(implementation: str) -> None:
    attention = random_attention(implementation).eval()

    class WithShapes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = attention

        def forward(self, queries: Tensor, reference_points: Tensor, memory: Tensor) -> Tensor:
            return self.attention(queries, reference_points, memory, SHAPES)

    module, arguments = WithShapes(), inputs()
    with torch.no_grad():
        expected = module(*arguments)
        exported = torch.export.export(module, arguments).module()(*arguments)
        compiled = torch.compile(module, backend="eager", fullgraph=True)(*arguments)
    torch.testing.assert_close(exported, expected)
    torch.testing.assert_close(compiled, expected)


def test_initial_values() -> None:
    attention = MultiScaleDeformableAttention(32, 3, 8, 4)
    bias = attention.sampling_offsets.bias.view(8, 3, 4, 2)
    for head, (x, y) in enumerate(
        [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    ):
        for point in range(4):
            expected = torch.tensor([x, y]) * (point + 1.0)
            torch.testing.assert_close(
                bias[head, :, point], expected.expand(3, 2), atol=1e-5, rtol=0
            )
    for parameter in (
        attention.sampling_offsets.weight,
        attention.attention_weights.weight,
        attention.attention_weights.bias,
        attention.value_proj.bias,
        attention.output_proj.bias,
    ):
        assert (parameter == 0).all()
    for linear in (attention.value_proj, attention.output_proj):
        bound = math.sqrt(6 / 64)  # xavier, 32 channels in and out
        assert 0.9 * bound < linear.weight.abs().max() <= bound


def test_unknown_implementation() -> None:
    with pytest.raises(ValueError, match=r"'cuda' is unknown; choose from auto, grid_"):
        MultiScaleDeformableAttention(32, 3, 4, 4, "cuda")


def test_triton_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"'triton' needs a CUDA device.*choose 'auto'"):
        MultiScaleDeformableAttention(32, 3, 4, 4, "triton")


def test_channels_must_divide_by_the_heads() -> None:
    with pytest.raises(ValueError, match="30 channels do not divide by 4 heads"):
        MultiScaleDeformableAttention(30, 3, 4, 4)


@pytest.mark.parametrize("shapes", [SHAPES[:2], [(3, 5), (6, 9), (11, 17)]])
def test_shapes_that_do_not_fit(shapes: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match=r"267 memory positions in 3 levels expected"):
        random_attention("auto")(*inputs(), shapes)
