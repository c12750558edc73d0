#!/usr/bin/env python
"""How time and memory grow with the sides of a picture, queries, classes, instances and pictures.

    python tools/benchmarking/growth.py --model segformer_b0 --axis side --json side.json
    python tools/benchmarking/growth.py --plot docs/images/growth.png side.json queries.json ...

Inference in fp32 on a CPU, picture to result, with random weights. Each point is measured in a
process of its own: seconds of the processor (all threads, user and system), the least of some runs
after a warm-up, and by how much its peak of memory grew over that of building the model. "slope" is
the power with which the time grows from the point before: 1 where it is proportional to what
--axis names, a picture's side counting as its pixels. --axis instances is the post-processing alone
of so many confident queries, panoptic and instance, at 800 x 1067. A point that needs more memory
than there is ends the curve.
"""

import argparse
import json
import math
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

import torch
from detectron2.modeling import build_model
from tabulate import tabulate
from torch import Tensor

from d2seg.acceleration import is_out_of_memory, prepare_for_inference
from d2seg.config.loading import load_config
from d2seg.mask_classification import postprocessing
from d2seg.mask_classification.mask_resizer import MaskResizer
from d2seg.mask_classification.query_masks import ImageMasks

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
MODELS = {
    "maskformer": "maskformer/ade20k_semantic_resnet50",
    "mask2former": "mask2former/coco_panoptic_resnet50",
    "segformer_b0": "segformer/ade20k_semantic_mit_b0",
}
AXES = {
    "side": (512, 1024, 2048, 4096),
    "queries": (50, 100, 200, 400),
    "classes": (19, 150, 400, 847),
    "instances": (1, 10, 50, 100, 200),
    "batch": (1, 2, 4, 8, 16),
}
SIDE = 512  # where another axis grows
POSTPROCESS_SIZE, PADDED_SIZE = (800, 1067), (800, 1088)


def main() -> int:
    args = parse_arguments()
    if args.plot:
        plot([json.loads(Path(name).read_text()) for name in args.files], Path(args.plot))
        return 0
    curve: dict[str, Any] = {"model": args.model, "axis": args.axis, "points": []}
    for value in args.values or AXES[args.axis]:
        found = in_a_process(args.model, args.axis, value, args.repeats)
        if found is None:
            print(f"{args.axis} {value}: not enough memory", file=sys.stderr)
            break
        curve["points"].append({"value": value, "seconds": found[0], "mib": found[1]})
        if args.json:
            Path(args.json).write_text(json.dumps(curve, indent=2) + "\n")
    print(tabulate(list(table(curve)), headers="keys", tablefmt="github"))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=list(MODELS), default="maskformer")
    parser.add_argument("--axis", choices=list(AXES), default="side")
    parser.add_argument("--values", type=int, nargs="+", help="instead of the usual ones")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", metavar="FILE", help="write the curve there")
    parser.add_argument("--plot", metavar="PNG", help="draw the curves of FILES, measure nothing")
    parser.add_argument("files", nargs="*", metavar="FILES", help="of --json")
    args = parser.parse_args()
    if bool(args.plot) != bool(args.files):
        parser.error("--plot PNG and the files to draw go together")
    if args.values and (min(args.values) < 1 or args.values != sorted(set(args.values))):
        parser.error(f"--values {args.values}: give numbers above 0 that grow")
    if args.repeats < 1:
        parser.error(f"--repeats {args.repeats}: at least 1")
    if args.axis in ("queries", "instances") and args.model == "segformer_b0":
        parser.error(f"--axis {args.axis}: SegFormer has no queries")
    missing = [name for name in args.files if not Path(name).is_file()]
    if missing:
        parser.error(f"there is no file {missing[0]}")
    return args


def in_a_process(*arguments: Any) -> tuple[float, float] | None:
    """:func:`measure` in a process of its own, which has the imports already."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(measure, arguments)


def measure(model: str, axis: str, value: int, repeats: int) -> tuple[float, float] | None:
    """Seconds and MiB of one point; ``None``: there is not enough memory."""
    try:
        run = postprocess(value) if axis == "instances" else inference(model, axis, value)
        before = peak_mib()
        times = []
        for _ in range(repeats + 1):
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
        return min(times[1:]), peak_mib() - before
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            return None
        raise


def peak_mib() -> float:
    unit = 1 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def inference(model: str, axis: str, value: int) -> Callable[[], Any]:
    torch.manual_seed(0)
    cfg = load_config(str(CONFIGS / f"{MODELS[model]}.yaml"), labels=True)
    cfg.MODEL.DEVICE = "cpu"
    if axis == "queries":
        cfg.MODEL.MASK_CLASSIFICATION.NUM_QUERIES = value
    if axis == "classes":
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = value
    built = prepare_for_inference(build_model(cfg).eval())
    side = value if axis == "side" else SIDE
    batch = [{"image": smooth((3, side, side))}] * (value if axis == "batch" else 1)
    return torch.inference_mode()(lambda: built(batch))


def smooth(shape: tuple[int, int, int]) -> Tensor:
    """uint8, so that features differ from place to place."""
    coarse = torch.rand(1, shape[0], 12, 16)
    return (255 * torch.nn.functional.interpolate(coarse, shape[1:])[0]).byte()


def postprocess(number: int) -> Callable[[], Any]:
    """Of ``number`` confident queries and as many others."""
    torch.manual_seed(0)
    logits = torch.randn(2 * number, 134)
    logits[torch.arange(number), torch.arange(number) % 80] += 12
    logits[number:, -1] += 12
    features = torch.nn.functional.interpolate(torch.randn(1, 256, 12, 16), (200, 272))[0]
    masks = ImageMasks(0.5 * torch.randn(2 * number, 256), features)
    resize, things = MaskResizer(PADDED_SIZE, POSTPROCESS_SIZE), frozenset(range(80))

    def run() -> None:
        postprocessing.panoptic_inference(
            logits,
            masks,
            resize,
            thing_ids=things,
            object_mask_threshold=0.8,
            overlap_threshold=0.8,
            intersect=True,
        )
        postprocessing.instance_inference(
            logits, masks, resize, thing_ids=things, max_instances=number, score_threshold=0.0
        )

    return torch.inference_mode()(run)


def table(curve: dict[str, Any]) -> Iterator[dict[str, Any]]:
    power = 2 if curve["axis"] == "side" else 1
    before = None
    for point in curve["points"]:
        row = {curve["axis"]: point["value"], "s": f"{point['seconds']:.3f}"}
        row["MiB"] = f"{point['mib']:.0f}"
        row["slope"] = ""
        if before is not None:
            steps = power * math.log(point["value"] / before["value"])
            row["slope"] = f"{math.log(point['seconds'] / before['seconds']) / steps:.2f}"
        before = point
        yield {"model": curve["model"], **row}


def plot(curves: list[dict[str, Any]], path: Path) -> None:
    """One column for each axis: seconds above, MiB below, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import NullLocator

    axes = [axis for axis in AXES if any(curve["axis"] == axis for curve in curves)]
    figure, grid = pyplot.subplots(
        2, len(axes), figsize=(3.2 * len(axes), 5), squeeze=False, layout="constrained"
    )
    for column, axis in enumerate(axes):
        for row, (key, unit) in enumerate((("seconds", "CPU seconds"), ("mib", "MiB"))):
            place = grid[row][column]
            ticks: set[int] = set()
            for curve in curves:
                if curve["axis"] == axis:
                    values = [point["value"] for point in curve["points"]]
                    figures = [point[key] for point in curve["points"]]
                    place.loglog(values, figures, marker="o", label=curve["model"])
                    ticks |= {*values}
            low, high = place.get_ylim()
            widening = max(1.0, math.sqrt(10 * low / high))  # to a power of ten at least
            place.set_ylim(low / widening, high * widening)
            place.set_xticks(sorted(ticks), [str(value) for value in sorted(ticks)])
            place.xaxis.set_minor_locator(NullLocator())
            place.set_xlabel(axis if row else "")
            place.set_ylabel("" if column else unit)
            place.grid(alpha=0.3)
    lines = {line.get_label(): line for place in grid[0] for line in place.get_lines()}
    figure.legend(
        handles=list(lines.values()), loc="outside upper center", ncols=max(1, len(lines))
    )
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    sys.exit(main())
