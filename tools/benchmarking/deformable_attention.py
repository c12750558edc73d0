#!/usr/bin/env python
"""Times one layer of deformable attention over an image of 800 x 1067 (strides 8 to 32, 256
channels, 8 heads, 4 points) in each implementation that runs on a CPU, forward and backward.

    python tools/benchmarking/deformable_attention.py

By turns, medians; run it on an otherwise idle machine.
"""

import itertools
import statistics
import time

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
    torch.manual_seed(0)
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
