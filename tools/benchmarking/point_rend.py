#!/usr/bin/env python
"""Times instance PointRend against detectron2's own with equal weights: R50, 800 x 1067, 100
detections.

    python tools/benchmarking/point_rend.py

Beside the tests, nothing else imports detectron2's project. By turns, each side in
a process of its own, medians; run it on an otherwise idle machine.
"""

import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import numpy as np
import torch
from detectron2 import model_zoo
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.projects.point_rend import add_pointrend_config
from torch import nn

from d2seg.acceleration import prepare_for_inference
from d2seg.checkpoint.conversion import to_d2seg
from d2seg.config.loading import load_config

REPO = Path(__file__).resolve().parents[2]
SIZE, REPEATS = (800, 1067), 5


def reference_config() -> CfgNode:
    """The published COCO R50 model, in detectron2's keys."""
    cfg = get_cfg()
    add_pointrend_config(cfg)
    name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
    cfg.merge_from_file(model_zoo.get_config_file(name))
    cfg.MODEL.ROI_MASK_HEAD.NAME = "PointRendMaskHead"
    cfg.MODEL.ROI_MASK_HEAD.POINT_HEAD_ON = True
    cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE = ""
    return cfg


def pair() -> dict[str, nn.Module]:
    """Both models; their random weights give detections all over the image."""
    torch.manual_seed(0)
    configs = {
        "detectron2": reference_config(),
        "d2seg": load_config(str(REPO / "configs/pointrend/coco_instance_resnet50_1x.yaml")),
    }
    models = {}
    for name, cfg in configs.items():
        cfg.MODEL.DEVICE = "cpu"
        cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
        models[name] = build_model(cfg).eval()
    reference = models["detectron2"]
    with torch.no_grad():
        for layer in reference.proposal_generator.rpn_head.anchor_deltas.parameters():
            layer.zero_()
        for layer in reference.roi_heads.box_predictor.bbox_pred.parameters():
            layer.zero_()
        for name, parameter in reference.roi_heads.mask_head.named_parameters():
            if parameter.dim() > 1 and "predictor" in name:
                parameter.normal_(std=0.05)
    state, layout = to_d2seg(reference.state_dict())
    assert layout is not None
    models["d2seg"].load_state_dict(state)
    prepare_for_inference(models["d2seg"])
    return models


class Side:
    """One of the two in a process of its own, with the memory settings that it comes with."""

    def __init__(self, name: str) -> None:
        # huge pages are this project's doing; the variable is read when the process starts
        with mock.patch.dict(os.environ, {"THP_MEM_ALLOC_ENABLE": str(int(name == "d2seg"))}):
            self.process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
            self.process.submit(prepare, name).result()

    def run(self) -> tuple[float, np.ndarray]:
        return self.process.submit(run).result()


model: nn.Module  # of a side's process


def prepare(name: str) -> None:
    global model
    model = pair()[name]


@torch.inference_mode()
def run() -> tuple[float, np.ndarray]:
    """Milliseconds and (R, H, W) masks, eight pixels a byte."""
    image = torch.randint(0, 256, (3, *SIZE), generator=torch.Generator().manual_seed(1))
    batch = [{"image": image.byte(), "height": SIZE[0], "width": SIZE[1]}]
    start = time.perf_counter()
    masks = model(batch)[0]["instances"].pred_masks
    return 1e3 * (time.perf_counter() - start), np.packbits(masks.numpy(), axis=-1)


def main() -> None:
    sides = {name: Side(name) for name in ("detectron2", "d2seg")}
    times: dict[str, list[float]] = {name: [] for name in sides}
    masks = {}
    for round_ in range(REPEATS + 1):
        for name, side in sides.items():
            milliseconds, masks[name] = side.run()
            if round_:  # the first one warms up
                times[name].append(milliseconds)
    ours, theirs = masks["d2seg"], masks["detectron2"]
    differing = np.unpackbits(ours ^ theirs).sum() if ours.shape == theirs.shape else "all"
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f"{len(ours)} detections, {differing} mask pixels differ")
    for name, milliseconds in median.items():
        print(f"{name:<10} {milliseconds:.0f} ms")
    print(f"faster     {median['detectron2'] / median['d2seg']:.2f} x")


if __name__ == "__main__":
    main()
