"""Write a model as a file that runs without Python: ONNX, OpenVINO or torch.export.

    d2seg export mask2former/coco_panoptic_resnet50 model_final.pth model.onnx --format onnx
    d2seg export segformer/ade20k_semantic_mit_b0 b0.pth b0.xml --format openvino --dynamic

The file holds config, classes and normalisation. It is run and compared with PyTorch before it is
kept. docs/export.md says what is in it, what runs it and what it cannot be.
Exit code: 0; 1 when the file differs from PyTorch, which is then deleted; 2 for a mistake in the
call.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from torch import nn

from ..acceleration import flush_denormals
from ..checkpoint import Checkpointer
from ..checkpoint.undrawn import undrawn
from ..config.loading import load_config, use_words_of_checkpoint
from ..config.tasks import TASKS, tasks_of
from ..data.datasets.declaration import register_declarations
from ..export.exporting import Exported, Request, check_format, export, output_path
from ..export.formats import FORMATS
from ..export.quantisation import pictures_of
from ..export.verification import DifferenceError
from ..names import printable
from .exported_scores import compare_scores
from .imports import add_import_argument
from .messages import Parser, report_mistake, user_path

DTYPES = ("fp32", "fp16", "bf16", "int8")


def make_parser(prog: str | None = None) -> Parser:
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add("config", help="file, or name in the model zoo")
    add("weights", help="a checkpoint, as MODEL.WEIGHTS takes them")
    add("out", type=user_path, help="the file to write")
    add("--format", choices=FORMATS, default="onnx", dest="format_name")
    add("--dtype", choices=DTYPES, default="fp32", help="number format of the weights")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--size", nargs=2, type=int, metavar=("H", "W"), help="of the input; default: the config's"
    )
    size.add_argument("--dynamic", action="store_true", help="take pictures of any size")
    add("--check", metavar="DATASET", help="score PyTorch and the file on a registered data set")
    add("--calibrate", type=user_path, metavar="FOLDER", help="pictures, for the ranges of int8")
    add(
        "--postprocess",
        nargs="?",
        const="first",
        default="",
        choices=(*TASKS, "first"),
        metavar="TASK",
        help="results inside the file (panoptic, semantic or instance; default: the first that the "
        "model offers) instead of logits and masks, for programs without d2seg",
    )
    add_import_argument(parser)
    add("opts", nargs="*", metavar="KEY VALUE", help="changes to the config")
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    args = make_parser(prog).parse_intermixed_args(argv)
    flush_denormals()
    try:
        check_format(args.format_name, args.dtype)
        path = output_path(args.out, args.format_name)
        pictures = calibration_pictures(args)
        cfg = read_config(args)
        check_data_set(args)
        made = export(cfg, load_model(cfg), path, make_request(args, cfg), pictures)
    except DifferenceError as error:
        sys.stderr.write(f"error: {printable(error)}\n")
        return 1
    except (ValueError, ImportError, OSError) as error:
        return report_mistake(error)
    print(report(made), flush=True)
    if args.check:
        print(compare_scores(cfg, made.path, args.check))
    return 0


def read_config(args: argparse.Namespace) -> CfgNode:
    cfg = load_config(args.config, args.opts, labels=True, imports=args.imports)
    cfg.MODEL.WEIGHTS = args.weights
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.TIMM.PRETRAINED = cfg.MODEL.VIT.PRETRAINED = False  # all comes from the checkpoint
    register_declarations(cfg.DATASETS.DECLARATIONS)  # names and colours of one's own data
    use_words_of_checkpoint(cfg)
    return cfg


def check_data_set(args: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: --check of no registered data set, or of a file that gives results itself.
    """
    if args.check and args.check not in DatasetCatalog:
        raise ValueError(f"--check {args.check}: there is no such data set")
    if args.check and args.postprocess:
        raise ValueError("--check scores what d2seg makes of a file: leave out --postprocess")


def calibration_pictures(args: argparse.Namespace) -> list[Path]:
    """
    Raises:
        ValueError: int8 without pictures, or pictures for another number format.
    """
    if (args.dtype == "int8") != (args.calibrate is not None):
        raise ValueError("--dtype int8 and --calibrate FOLDER, of pictures, go together")
    return [] if args.calibrate is None else pictures_of(args.calibrate)


def load_model(cfg: CfgNode) -> nn.Module:
    with undrawn(bool(cfg.MODEL.WEIGHTS)):
        model = build_model(cfg)
    Checkpointer(model).load(cfg.MODEL.WEIGHTS, checkpointables=[], require_complete=True)
    return model


def make_request(args: argparse.Namespace, cfg: CfgNode) -> Request:
    task = args.postprocess
    if task == "first":
        task = min(tasks_of(cfg), key=TASKS.index)
    size = tuple(args.size) if args.size else None
    return Request(args.format_name, args.dtype, size, args.dynamic, task)


def report(made: Exported) -> str:
    lines = [f"{printable(made.path)}: {made.megabytes:.1f} MB, written in {made.seconds:.1f} s"]
    lines += [
        f"  at {each.size[0]} x {each.size[1]} within {each.value:.1e} of PyTorch ({each.output})"
        for each in made.differences
    ]
    if made.speed:
        one, other = made.speed
        lines.append(
            f"  int8 takes {one:.1f} ms, the same in fp32 {other:.1f} ms (onnxruntime, medians of "
            "five by turns); --check DATASET scores both"
        )
    return "\n".join(lines)
