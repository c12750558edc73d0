#!/usr/bin/env python
"""Times one layer of deformable attention over an image of 800 x 1067 (strides 8 to 32, 256
channels, 8 heads, 4 points) in each implementation that runs on a CPU, forward and backward.

    python tools/benchmarking/deformable_attention.py
    python tools/benchmarking/deformable_attention.py --device cuda

By turns, medians; run it on an otherwise idle machine. On CUDA it times the Triton kernel alone and
says which share of the rate of a copy it reaches with what it has to read and write at least.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import torch
from torch import nn

from d2seg.layers.deformable_attention import MultiScaleDeformableAttention

SHAPES = [(25, 34), (50, 67), (100, 134)]
REPEATS = 7


def milliseconds(layer: nn.Module, queries: torch.Tensor, places: torch.Tensor) -> list[float]:
    """Of a pass without a graph, of one with it and of the backward pass."""
    times = [time.perf_counter()]
    with torch.inference_mode():
        layer(queries, places, queries, SHAPES)
    times.append(time.perf_counter())
    output = layer(queries, places, queries, SHAPES)
    times.append(time.perf_counter())
    output.sum().backward()
    times.append(time.perf_counter())
    return [1e3 * (stop - start) for start, stop in itertools.pairwise(times)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    torch.manual_seed(0)
    if parser.parse_args().device == "cpu":
        time_on_cpu()
        return
    rate = bytes_per_second_of_a_copy()
    print(f"a copy: {rate / 1e12:.2f} TB/s read and written")
    for dtype, batch in itertools.product((torch.float32, torch.bfloat16), (1, 8)):
        time_kernel(dtype, batch, rate)


def cuda_seconds(run: Callable[[], object]) -> float:
    """Median of fifty runs after ten."""
    times = []
    for _ in range(60):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop) / 1e3)
    return statistics.median(times[10:])


def bytes_per_second_of_a_copy() -> float:
    here = torch.empty(1 << 31, dtype=torch.uint8, device="cuda")
    there = torch.empty_like(here)
    return 2 * here.numel() / cuda_seconds(lambda: there.copy_(here))


def time_kernel(dtype: torch.dtype, batch: int, rate: float) -> None:
    from d2seg.layers.deformable_attention.triton_kernel import triton_sum

    heads, channels, points = 8, 32, 4
    sizes = torch.tensor(SHAPES, dtype=torch.float32)
    places = torch.cat(
        [
            torch.cartesian_prod((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w)
            for h, w in SHAPES
        ]
    )
    at = places[None, :, None, None, None] * sizes[:, None] - 0.5  # (1, N, 1, L, 1, 2)
    shape = (batch, len(places), heads, len(SHAPES), points)
    y, x = (at + 3 * torch.randn(*shape, 2)).to("cuda").unbind(-1)
    weights = torch.rand(shape, device="cuda")
    value = torch.randn(batch, len(places), heads, channels, device="cuda", dtype=dtype)
    inputs = [tensor.contiguous().requires_grad_() for tensor in (value, x, y, weights)]
    with torch.no_grad():
        forward = cuda_seconds(lambda: triton_sum(*inputs, SHAPES))
    output = triton_sum(*inputs, SHAPES)
    grad = torch.randn_like(output)
    backward = cuda_seconds(lambda: torch.autograd.grad(output, inputs, grad, retain_graph=True))
    of_points = 3 * x.numel() * x.element_size()
    once = value.numel() * value.element_size()
    read_and_written = {"forward": 2 * once + of_points}
    # gradients of the value are summed in fp32, then brought to its format
    read_and_written["backward"] = 3 * once + 2 * of_points + 8 * value.numel()
    for name, seconds in (("forward", forward), ("backward", backward)):
        share = read_and_written[name] / seconds / rate
        print(f"{dtype} batch {batch} {name:<8} {1e6 * seconds:6.0f} us, {share:.0%} of a copy")


def time_on_cpu() -> None:
    layers = {
        name: MultiScaleDeformableAttention(256, len(SHAPES), 8, 4, name)
        for name in ("grid_sample", "embedding_bag")
    }
    reference = layers["grid_sample"]
    nn.init.normal_(reference.sampling_offsets.weight, std=0.2)  # points some pixels apart
    for layer in layers.values():
        layer.load_state_dict(reference.state_dict())
    places = torch.cat(
        [
            torch.cartesian_prod((torch.arange(h) + 0.5) / h, (torch.arange(w) + 0.5) / w).flip(1)
            for h, w in SHAPES
        ]
    )  # every position asks about the places around itself
    queries = torch.randn(1, len(places), 256, requires_grad=True)
    places = places[None, :, None].expand(-1, -1, len(SHAPES), -1)
    times: dict[str, list[list[float]]] = {name: [] for name in layers}
    for round_ in range(REPEATS + 2):
        for name, layer in layers.items():
            taken = milliseconds(layer, queries, places)
            if round_ > 1:  # the first ones warm up
                times[name].append(taken)
    print(f"{'':<14} inference   forward  backward, ms")
    for name, rows in times.items():
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        print(f"{name:<14} " + "  ".join(f"{median:8.0f}" for median in medians))


if __name__ == "__main__":
    main()
