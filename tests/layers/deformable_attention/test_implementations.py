"""Every implementation of the sum against the plain one, with all gradients."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from d2seg.layers.chunking import budget
from d2seg.layers.deformable_attention import bag
from d2seg.layers.deformable_attention.bag import embedding_bag_sum
from d2seg.layers.deformable_attention.gathered import gathered_sum
from d2seg.layers.deformable_attention.reference import grid_sample_sum

Shapes = list[tuple[int, int]]
LEVELS = [
    [(4, 4)],
    [(7, 5), (3, 11), (1, 1)],
    [(1, 1)],
    [(1, 6), (6, 1)],
    [(2, 2), (1, 3), (1, 1), (5, 1)],
]


def random_inputs(
    shapes: Shapes, dtype: torch.dtype = torch.float64, batch: int = 2, device: str = "cpu"
) -> list[Tensor]:
    """value, x, y, weights of 9 queries, 3 heads, 2 points, 4 channels; a third of them outside."""
    generator = torch.Generator().manual_seed(0)

    def uniform(*size: int) -> Tensor:
        return torch.rand(size, dtype=torch.float64, generator=generator)

    points = (batch, 9, 3, len(shapes), 2)
    value = uniform(batch, sum(h * w for h, w in shapes), 3, 4) * 2 - 1
    sizes = torch.tensor(shapes, dtype=torch.float64)
    y, x = ((uniform(*points) * 1.5 - 0.25) * sizes[:, i, None] - 0.5 for i in range(2))
    # two pixels and more outside, where nothing is left
    x[:, 0], y[:, 1] = -2.5, sizes[:, 0, None] + 1.5
    inputs = (value, x, y, uniform(*points))
    return [tensor.to(device, dtype).requires_grad_() for tensor in inputs]


def assert_equal_with_gradients(
    implementation: Callable[..., Tensor], inputs: list[Tensor], shapes: Shapes, **tolerance: float
) -> None:
    actual, expected = implementation(*inputs, shapes), grid_sample_sum(*inputs, shapes)
    torch.testing.assert_close(actual, expected, **tolerance)
    generator = torch.Generator().manual_seed(1)
    grad = torch.randn(expected.shape, generator=generator).to(expected)
    names = ("value", "x", "y", "weights")
    gradients = (torch.autograd.grad(result, inputs, grad) for result in (actual, expected))
    for name, ours, reference in zip(names, *gradients, strict=True):
        torch.testing.assert_close(
            ours, reference, msg=lambda text, name=name: f"gradient of {name}: {text}", **tolerance
        )


def gathered_from_centres(
    value: Tensor, x: Tensor, y: Tensor, weights: Tensor, shapes: Shapes
) -> Tensor:
    """``gathered_sum`` of positions that count from somewhere in the maps."""
    offsets, centres = [], []
    for position in (x.flatten(3), y.flatten(3)):
        count = position[:1, :, :1].numel()
        centre = torch.linspace(-0.5, 9.25, count, dtype=x.dtype).view_as(position[:1, :, :1])
        offsets.append(position - centre)
        centres.append(centre)
    return gathered_sum(value, tuple(offsets), tuple(centres), weights, shapes)


def test_reference_by_hand() -> None:
    value = torch.arange(6.0).view(1, 6, 1, 1)  # 2 rows of 3: 0 1 2, 3 4 5
    x = torch.tensor([0.0, 1.0, 0.5, 2.5, -1.0]).view(1, 5, 1, 1, 1)
    y = torch.tensor([0.0, 1.0, 0.5, 1.0, 0.0]).view(1, 5, 1, 1, 1)
    weights = torch.tensor([1.0, 0.5, 1.0, 1.0, 1.0]).view(1, 5, 1, 1, 1)
    expected = torch.tensor([0.0, 2.0, 2.0, 2.5, 0.0]).view(1, 5, 1)
    for implementation in (grid_sample_sum, embedding_bag_sum, gathered_from_centres):
        torch.testing.assert_close(implementation(value, x, y, weights, [(2, 3)]), expected)


@pytest.mark.parametrize("shapes", LEVELS)
def test_embedding_bag_equals_grid_sample(shapes: Shapes) -> None:
    assert_equal_with_gradients(embedding_bag_sum, random_inputs(shapes), shapes)


@pytest.mark.parametrize("shapes", LEVELS)
def test_gathered_rows_equal_grid_sample(shapes: Shapes) -> None:
    inputs = [tensor.detach() for tensor in random_inputs(shapes)]
    expected = grid_sample_sum(*inputs, shapes)
    torch.testing.assert_close(gathered_from_centres(*inputs, shapes), expected)


def test_gathered_rows_in_bf16_tell_far_pixels_apart() -> None:
    """Of a map of 1000 columns, in which a pixel's own number would be rounded to fours."""
    shapes, generator = [(2, 1000)], torch.Generator().manual_seed(0)
    value = torch.rand(1, 2000, 1, 1, generator=generator)
    centres = torch.arange(1000.0).view(1, 1000, 1, 1), torch.full((1, 1000, 1, 1), 0.25)
    offsets = torch.full((1, 1000, 1, 1), -2.75), torch.full((1, 1000, 1, 1), 0.5)
    weights = torch.ones(1, 1000, 1, 1, 1)
    x, y = ((a + b).unsqueeze(-1) for a, b in zip(offsets, centres, strict=True))
    expected = grid_sample_sum(value, x, y, weights, shapes)
    low = torch.bfloat16
    result = gathered_sum(
        value.to(low), tuple(o.to(low) for o in offsets), centres, weights.to(low), shapes
    )
    assert result.dtype == low
    torch.testing.assert_close(result.float(), expected, atol=0.01, rtol=0.01)


def test_embedding_bag_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bag, "_POINTS_AT_ONCE", budget(4 * 3 * 3 * 2))  # 4, 4 and 1 queries
    shapes = LEVELS[1]
    assert_equal_with_gradients(embedding_bag_sum, random_inputs(shapes), shapes)


def test_embedding_bag_in_groups_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = LEVELS[1]
    five = [
        torch.cat([tensor, tensor.flip(1), tensor[:1] / 2]).detach().requires_grad_()
        for tensor in random_inputs(shapes)
    ]
    monkeypatch.setattr(bag, "_POINTS_AT_ONCE", budget(2 * five[1][0].numel()))  # 2, 2 and 1 images
    assert_equal_with_gradients(embedding_bag_sum, five, shapes)


@pytest.mark.parametrize("shapes", [[(4, 8)], [(1, 4), (2, 1)]])
def test_embedding_bag_on_pixel_centres_and_borders(shapes: Shapes) -> None:
    """Where the derivative has two sides, ``grid_sample`` takes the right one, and so do we."""
    value, x, y, weights = random_inputs(shapes)
    offsets = torch.arange(-4, 14, dtype=x.dtype)  # sizes are powers of two: no rounding
    x = (offsets.view(1, -1, 1, 1, 1).expand(2, -1, 3, len(shapes), 2) / 2).clone()
    y = offsets.roll(5).view(1, -1, 1, 1, 1).expand(2, -1, 3, len(shapes), 2).clone()
    weights = torch.rand_like(x)
    inputs = [tensor.detach().requires_grad_() for tensor in (value, x, y, weights)]
    assert_equal_with_gradients(embedding_bag_sum, inputs, shapes)
    inputs[1:3] = [y.requires_grad_(), x.requires_grad_()]
    assert_equal_with_gradients(embedding_bag_sum, inputs, shapes)


def test_embedding_bag_gradcheck() -> None:
    shapes = [(3, 2), (1, 2)]
    inputs = [tensor[:1, :3] if i else tensor[:1] for i, tensor in enumerate(random_inputs(shapes))]
    assert torch.autograd.gradcheck(lambda *tensors: embedding_bag_sum(*tensors, shapes), inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_embedding_bag_in_shorter_types(dtype: torch.dtype) -> None:
    shapes = LEVELS[1]
    exact = random_inputs(shapes)
    value = exact[0].detach().to(dtype).requires_grad_()
    points = [tensor.detach().float().requires_grad_() for tensor in exact[1:]]
    actual = embedding_bag_sum(value, *points, shapes)
    expected = grid_sample_sum(value.double(), *(point.double() for point in points), shapes)
    assert actual.dtype == dtype
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
    torch.testing.assert_close(actual.double(), expected, atol=tolerance, rtol=tolerance)
    ours, reference = (
        torch.autograd.grad(result.sum(), [value, *points]) for result in (actual, expected)
    )
    for our, other in zip(ours, reference, strict=True):
        assert our.dtype == other.dtype
        torch.testing.assert_close(our, other, atol=tolerance, rtol=tolerance)


def test_embedding_bag_passes_nan_and_infinity_on() -> None:
    """A diverged model is to be found by its loss, not by an index out of range."""
    shapes = LEVELS[1]
    value, x, y, weights = (tensor.detach() for tensor in random_inputs(shapes))
    x[:, 3], y[:, 4], x[:, 5] = torch.nan, torch.nan, torch.inf
    summed = embedding_bag_sum(value, x, y, weights, shapes)
    assert summed[:, 3:5].isnan().all()
    assert (summed[:, 5] == 0).all()
    assert summed[:, [0, 1, 2, 6, 7, 8]].isfinite().all()


TRITON_CASES = """
import sys, torch
sys.path.insert(0, {folder!r})
from test_implementations import LEVELS, assert_equal_with_gradients, random_inputs
from d2seg.layers.deformable_attention.reference import grid_sample_sum
from d2seg.layers.deformable_attention import triton_kernel
triton_kernel._QUERIES_PER_PROGRAM = 8  # of 9 queries: two programs, one of them nearly empty
for shapes in LEVELS[1::3]:
    # two heads: the interpreter takes its time for each program
    value, *points = (tensor.detach()[:, :, :2] for tensor in random_inputs(shapes, torch.float32))
    value = value[..., :3]  # not a power of two
    inputs = [tensor.contiguous().requires_grad_() for tensor in (value, *points)]
    assert_equal_with_gradients(
        triton_kernel.triton_sum, inputs, shapes, atol=2e-5, rtol=2e-5
    )
    print("equal", shapes)
exact = [tensor.detach()[:, :, :1].contiguous() for tensor in random_inputs(LEVELS[1], torch.float32)]
for dtype in (torch.bfloat16, torch.float16):
    value = exact[0].to(dtype)
    ours = triton_kernel.triton_sum(value, *exact[1:], LEVELS[1])
    assert ours.dtype == dtype
    reference = grid_sample_sum(value.float(), *exact[1:], LEVELS[1])
    torch.testing.assert_close(ours.float(), reference, atol=2e-2, rtol=2e-2)
    print("equal", dtype)
"""


def test_triton_interpreted_equals_grid_sample(repo_dir: Path) -> None:
    """Triton reads its switch for the interpreter when it is imported: a process of its own."""
    pytest.importorskip("triton")
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": os.pathsep.join([str(repo_dir / "projects"), *sys.path]),
    }
    script = TRITON_CASES.format(folder=str(Path(__file__).parent))
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("equal") == 4


def test_triton_compiles_without_a_device() -> None:
    """The interpreter takes Python that the compiler refuses."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget

    from d2seg.layers.deformable_attention import triton_kernel

    sizes = {"M": 8, "L": 3, "P": 4, "D": 24, "BLOCK_N": 32, "BLOCK_D": 32}
    short = {"value", "summed", "grad_summed"}
    for kernel in (triton_kernel._forward_kernel, triton_kernel._backward_kernel):
        types = dict.fromkeys(kernel.arg_names, "*fp32")
        types |= dict.fromkeys(short & set(types), "*bf16")
        types |= {"levels": "*i32", "S": "i32", "N": "i32"} | dict.fromkeys(sizes, "constexpr")
        source = triton.compiler.ASTSource(fn=kernel, signature=types, constexprs=sizes)
        compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32))
        assert len(compiled.asm["cubin"]) > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("shapes", [*LEVELS, [(13, 17), (25, 34), (50, 67)]])
def test_triton_equals_grid_sample(shapes: Shapes) -> None:
    from d2seg.layers.deformable_attention.triton_kernel import triton_sum

    inputs = random_inputs(shapes, torch.float32, device="cuda")
    assert_equal_with_gradients(triton_sum, inputs, shapes, atol=1e-4, rtol=1e-4)
    for dtype in (torch.bfloat16, torch.float16):
        value = inputs[0].detach().to(dtype)
        expected = grid_sample_sum(value.float(), *inputs[1:], shapes)
        actual = triton_sum(value, *inputs[1:], shapes)
        torch.testing.assert_close(actual.float(), expected, atol=2e-2, rtol=2e-2)
