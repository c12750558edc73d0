#!/usr/bin/env python
"""Peak memory and CPU time of large pictures in tiles, image to result, and of their drawing.

    python tools/benchmarking/large_pictures.py --model mask2former --sides 1024 2048 4096 8192

Random weights, noise in blocks of 8 pixels, TEST.TILES.SIZE 1024 and OVERLAP 256 unless other pairs
are given, on a CPU, each picture in a process of its own. A side of 1024 is a single tile. CPU time
is user and system time of all threads, which other work on the machine changes little. Memory is
the peak of the process's resident set; "before" is what it was before the picture was there.

--reuse is for memory alone, in a fraction of the time: the network runs on every 40th tile and on
the last one, when all that tiles keep is there; the other tiles get the outputs of the one before.

With random weights each query of mask classification finds noise all over its tile, whose joining
takes longer than that of any picture's objects. --discs N puts masks of discs in place of these
outputs, N for each 1024 x 1024 pixels and each where it lies in the picture; results should have as
many objects. The network runs as before.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import torch
from detectron2.modeling import build_model
from torch import nn

from d2seg.acceleration import prepare_for_inference
from d2seg.config.loading import load_config
from d2seg.config.tasks import tasks_of
from d2seg.data.augmentation import build_augmentations
from d2seg.mask_classification.query_masks import QueryMasks
from d2seg.prediction.building import class_metadata
from d2seg.prediction.predictor import Predictor
from d2seg.views import with_views
from d2seg.views.settings import TileSettings
from d2seg.views.tiles import Tile, tiles_of
from d2seg.visualization import draw_prediction

REPO = Path(__file__).resolve().parents[2]
WORKS = {  # config and task
    "segformer": ("segformer/ade20k_semantic_mit_b0", "semantic"),
    "maskformer": ("maskformer/ade20k_semantic_resnet50", "semantic"),
    "mask2former": ("mask2former/ade20k_semantic_resnet50", "semantic"),
    "mask2former_panoptic": ("mask2former/coco_panoptic_resnet50", "panoptic"),
    "mask2former_instance": ("mask2former/coco_instance_resnet50", "instance"),
}
MIB = 1 << 20
REUSE = 40  # tiles that share the outputs of a network's run, with --reuse


class Replay:
    """Lets the parts of a network rest on most tiles, whose outputs are copies of an earlier one's.
    What is kept for that, some 70 MiB, counts as the model's."""

    def __init__(self, model: nn.Module, num_tiles: int) -> None:
        self._num_tiles = num_tiles
        self._tile = 0
        if hasattr(model, "decode_head"):
            model.backbone = _Part(self, model.backbone)
            model.decode_head = _Part(self, model.decode_head, is_last=True)
        else:
            model.backbone = _Part(self, model.backbone)
            model.pixel_decoder = _Part(self, model.pixel_decoder)
            model.transformer_decoder = _Part(self, model.transformer_decoder, is_last=True)

    @property
    def is_run(self) -> bool:
        return self._tile % REUSE == 0 or self._tile == self._num_tiles - 1

    def next_tile(self) -> None:
        self._tile += 1


class _Part(nn.Module):
    def __init__(self, replay: Replay, part: nn.Module, is_last: bool = False) -> None:
        super().__init__()
        self.part = part
        self._replay = replay
        self._is_last = is_last
        self._output: Any = None

    def forward(self, *inputs: Any) -> Any:
        output = self.part(*inputs) if self._replay.is_run else self._output
        if not self._is_last:
            return output
        self._output = output
        self._replay.next_tile()
        return output.clone() if isinstance(output, torch.Tensor) else output


class Discs(nn.Module):
    """A transformer decoder, whose outputs become those of a model that finds all discs."""

    def __init__(self, decoder: nn.Module, tiles: Sequence[Tile], density: float) -> None:
        super().__init__()
        self.decoder = decoder
        self._tiles = iter(tiles)
        height, width = tiles[0].size
        generator = torch.Generator().manual_seed(1)
        number = round(density * height * width / (1 << 20))
        self.radii = 8 + 112 * torch.rand(number, generator=generator)
        room = torch.tensor([height, width])
        self.centers = torch.rand(number, 2, generator=generator) * room  # y, x

    def forward(self, *inputs: Any) -> tuple[torch.Tensor, QueryMasks]:
        """Of one tile after the other, in their order."""
        logits, masks = self.decoder(*inputs)
        top, left, bottom, right = next(self._tiles).area
        low, high = torch.tensor([top, left]), torch.tensor([bottom, right])
        nearest = self.centers.clamp(low, high)
        is_seen = (self.centers - nearest).norm(dim=1) < self.radii
        found = is_seen.nonzero()[:, 0][: min(masks.embeddings.shape[2:])]
        step = (bottom - top) / masks.size[0]
        ys = top + (torch.arange(masks.size[0]) + 0.5) * step
        xs = left + (torch.arange(masks.size[1]) + 0.5) * step
        maps = torch.zeros(1, masks.embeddings.shape[-1], *masks.size)
        embeddings = torch.zeros_like(masks.embeddings)
        logits = torch.zeros_like(logits)
        logits[..., -1] = 12
        for query, number in enumerate(found.tolist()):
            y, x = self.centers[number]
            distances = ((ys - y).square()[:, None] + (xs - x).square()).sqrt_()
            maps[0, query] = (self.radii[number] - distances).clamp_(-20, 20)
            embeddings[..., query, query] = 1
            logits[..., query, -1] = 0
            logits[..., query, number % min(80, logits.shape[-1] - 1)] = 12
        return logits, QueryMasks(embeddings, maps)


def peak() -> float:
    """MiB, of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(args: argparse.Namespace, height: int, width: int) -> dict[str, Any]:
    """One picture in this process; bytes of the picture and of its result stand beside the peak."""
    config, task = WORKS[args.model]
    torch.manual_seed(0)
    tiles = ["TEST.TILES.ENABLED", True, "INPUT.MIN_SIZE_TEST", 0, "INPUT.MAX_SIZE_TEST", 1 << 20]
    file = str(REPO / "configs" / f"{config}.yaml")
    cfg = load_config(
        file, [*tiles, "MODEL.DEVICE", "cpu", "TEST.TASKS", [task], *args.opts], labels=True
    )
    model = prepare_for_inference(build_model(cfg).eval())
    settings = TileSettings(cfg.TEST.TILES.SIZE, cfg.TEST.TILES.OVERLAP)
    places = list(tiles_of((height, width), settings))
    if args.reuse:
        Replay(model, len(places))
    if args.discs:
        model.transformer_decoder = Discs(model.transformer_decoder, places, args.discs)
    (resize,) = build_augmentations(cfg, is_train=False)
    predictor = Predictor(
        model=with_views(cfg, model, tasks_of),
        task=task,
        resize=resize,
        image_format=cfg.INPUT.FORMAT,
        metadata=class_metadata(cfg),
    )
    blocks = torch.randint(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=torch.uint8)
    before, start = peak(), time.process_time()
    image = blocks.repeat_interleave(8, 0).repeat_interleave(8, 1)[:height, :width].numpy()
    result = predictor(image)
    found = {
        "cpu_s": time.process_time() - start,
        "before_mib": before,
        "peak_mib": peak(),
        "picture_mib": image.nbytes / MIB,
        "result": describe(result),
    }
    if args.draw:
        start = time.process_time()
        draw_prediction(image, result, predictor.metadata)
        found |= {"drawing_cpu_s": time.process_time() - start, "peak_with_drawing_mib": peak()}
    return found


def describe(result: dict[str, Any]) -> str:
    if "instances" in result:
        found = result["instances"]
        return f"{len(found)} instances as {type(found.pred_masks).__name__}"
    if "panoptic_seg" in result:
        ids, segments = result["panoptic_seg"]
        return f"{len(segments)} segments, {ids.numel() * ids.element_size() / MIB:.0f} MiB"
    labels = result["sem_seg"]
    return f"{tuple(labels.shape)}, {labels.numel() * labels.element_size() / MIB:.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=WORKS, required=True)
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 2048, 4096, 8192])
    parser.add_argument("--height", type=int, help="of all pictures, in place of the side")
    parser.add_argument("--draw", action="store_true", help="the result too")
    parser.add_argument("--reuse", action="store_true", help="memory alone, see above")
    parser.add_argument("--discs", type=float, default=0, metavar="N", help="see above")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE")
    args = parser.parse_args()
    if args.discs and args.model == "segformer":
        parser.error("--discs is for mask classification")
    for side in args.sides:
        height = args.height or side
        if args.child:
            print(json.dumps(measure(args, height, side)))
            return
        child = [sys.executable, __file__, "--child", "--model", args.model, "--sides", str(side)]
        child += ["--height", str(height), *(["--draw"] if args.draw else [])]
        child += ["--reuse"] if args.reuse else []
        child += ["--discs", str(args.discs)] if args.discs else []
        child += ["--opts", *args.opts] if args.opts else []
        done = subprocess.run(child, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{args.model} {height} x {side}: {describe_row(found)}", flush=True)


def describe_row(found: dict[str, Any]) -> str:
    parts = [
        f"{value:.0f} {key.replace('_', ' ')}" if isinstance(value, float) else str(value)
        for key, value in found.items()
    ]
    return ", ".join(parts)


if __name__ == "__main__":
    main()
