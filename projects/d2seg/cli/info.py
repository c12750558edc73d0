"""Count what the model of a config costs: parameters, operations, memory of a training step.

    d2seg info segformer/ade20k_semantic_mit_b0
    d2seg info mask2former/coco_panoptic_resnet50 --size 800 1216 --batch 2 MODEL.DEVICE cuda

An operation is a multiplication with its addition, of one image at inference. The memory is
measured: one step on MODEL.DEVICE with the images of one backward pass (SOLVER.IMS_PER_BATCH
divided by ACCUMULATE_STEPS), made-up ones with 8 segments each. A step that would not fit is not
tried.
Exit code: 0; 2 for a mistake in the call.
"""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from tabulate import tabulate
from torch import nn

from ..config.checks import check_device
from ..config.input_checks import check_channels
from ..config.loading import load_config, use_words_of_checkpoint
from ..config.parts import check_registered, naming_parts
from ..data.build import images_per_process
from ..engine import cost
from .imports import add_import_argument
from .messages import Parser, report_mistake

GB = 1e9


def make_parser(prog: str | None = None) -> Parser:
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add("config", nargs="?", help="file, or name in the model zoo")
    add(
        *("--size",),
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="of the image; default: what the config's training crops or resizes to",
    )
    add("--batch", type=int, metavar="N", help="images of the measured step; default: the config's")
    add("--no-step", action="store_true", help="measure no memory")
    add_import_argument(parser)
    add("opts", nargs="*", metavar="KEY VALUE", help="changes to the config")
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    parser = make_parser(prog)
    args = parser.parse_intermixed_args(argv)
    if args.config is None:
        parser.error("give a config: a file, or a name in the model zoo (d2seg zoo lists them)")
    try:
        cfg = load_config(args.config, args.opts, labels=True, imports=args.imports)
        use_words_of_checkpoint(cfg)
        check_device(cfg.MODEL.DEVICE)
        check_registered(cfg)
        check_channels(cfg)
        size = tuple(args.size or cost.training_size(cfg))
        batch = args.batch or images_per_process(cfg, 1)
        if min(*size, batch) < 1:
            raise ValueError(f"--size {size[0]} {size[1]} --batch {batch}: give 1 or more")
        channels = len(cfg.MODEL.PIXEL_MEAN)
        of_channels = "" if channels == 3 else f" with {channels} channel{'s' * (channels > 1)}"
        print(f"{args.config}, one image of {size[0]} x {size[1]}{of_channels}\n")
        device, cfg.MODEL.DEVICE = torch.device(cfg.MODEL.DEVICE), "cpu"  # kernels hide operations
        with naming_parts(cfg):
            model = build_model(cfg)
        print(operations_table(cfg, model, size))
        if not args.no_step:
            print(f"\n{memory(cfg, model.to(device), size, batch)}")
    except (ValueError, ImportError) as error:
        return report_mistake(error)
    return 0


def operations_table(cfg: CfgNode, model: nn.Module, size: tuple[int, int]) -> str:
    """Parameters and operations of each part; as published too, where a part computes otherwise."""
    parameters = cost.count_parameters(model)
    expressions = int(cfg.INPUT.MAPPER == "referring")
    columns = [cost.count_operations(model, size, expressions)]
    headers = ["part", "parameters, M", "operations, G"]
    if any(hasattr(module, "forward_as_published") for module in model.modules()):
        columns.append(cost.count_operations(model, size, expressions, as_published=True))
        headers.append("as published, G")
    rows = [
        [part, parameters.get(part, 0) / 1e6, *(column[part] / 1e9 for column in columns)]
        for part in columns[0]
    ]
    parts = [row[1:] for row in rows if row[0] != cost.RESULTS]
    rows.insert(-1, ["all parts", *map(sum, zip(*parts, strict=True))])
    return tabulate(rows, headers=headers, floatfmt=".3f")


def memory(cfg: CfgNode, model: nn.Module, size: tuple[int, int], batch: int) -> str:
    """Activations of one image, and the peak of a step, in a line each."""
    device = next(model.parameters()).device
    one = cost.activation_bytes(model, cost.made_up_batch(cfg, size, 2)) / 2  # norms need two
    lines = [f"activations that training keeps: {one / GB:.2f} GB for an image"]
    free = cost.free_bytes(device)
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    needed = batch * one + 4 * weights  # of it, its gradient, two averages of it
    if free is not None and needed > 0.8 * free:
        lines.append(
            f"step of {batch} images on {device}: needs about {needed / GB:.1f} GB, and "
            f"{free / GB:.1f} are free; not tried (--batch N, or SOLVER.ACCUMULATE_STEPS)"
        )
        return "\n".join(lines)
    peak = cost.step_bytes(cfg, model, cost.made_up_batch(cfg, size, batch))
    lines.append(f"step of {batch} images on {device}: {peak / GB:.2f} GB at its peak, measured")
    return "\n".join(lines)
