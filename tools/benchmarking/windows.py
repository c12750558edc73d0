#!/usr/bin/env python
"""Times a sliding-window pass over 1024 x 2048 against its windows, each as an image of its own:
SegFormer-B0 as for Cityscapes, image to label map.

    python tools/benchmarking/windows.py

By turns, medians; run it on an otherwise idle machine.
"""

import statistics
import time
from pathlib import Path

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import torch
from detectron2.modeling import build_model

from d2seg.acceleration import prepare_for_inference
from d2seg.config.loading import load_config
from d2seg.layers.resampling import window_offsets

REPO = Path(__file__).resolve().parents[2]
SIZE, REPEATS = (1024, 2048), 5


def main() -> None:
    torch.manual_seed(0)
    cfg = load_config(str(REPO / "configs/segformer/cityscapes_semantic_mit_b0.yaml"), labels=True)
    cfg.MODEL.DEVICE = "cpu"
    model = prepare_for_inference(build_model(cfg).eval())
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    test = cfg.MODEL.PER_PIXEL.TEST
    (height, width), strides = test.CROP_SIZE, test.STRIDE
    windows = [
        {"image": image[:, top : top + height, left : left + width]}
        for top in window_offsets(SIZE[0], height, strides[0])
        for left in window_offsets(SIZE[1], width, strides[1])
    ]
    inputs = {"the whole image": [{"image": image}], f"its {len(windows)} windows": windows}
    times: dict[str, list[float]] = {name: [] for name in inputs}
    with torch.inference_mode():
        for round_ in range(REPEATS + 1):
            for name, examples in inputs.items():
                start = time.perf_counter()
                for example in examples:
                    model([example])
                if round_:  # the first one warms up
                    times[name].append(1e3 * (time.perf_counter() - start))
    for name, values in times.items():
        print(f"{name:<16} {statistics.median(values):.0f} ms")


if __name__ == "__main__":
    main()
