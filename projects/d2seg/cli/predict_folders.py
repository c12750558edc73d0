"""``d2seg predict --format`` and ``--merge``: prediction over folders, lists and tables."""

import argparse
import os
from pathlib import Path

from detectron2.config import CfgNode

from ..config.tasks import choose_task, tasks_of
from ..engine.output_folder import check_folder as check_writable
from ..engine.prepare import is_torchrun
from ..names import expand_user, printable
from ..prediction.batch import BatchPredictor
from ..prediction.folders.manifest import (
    Manifest,
    check_folder,
    claim,
    describe_run,
    part_size,
    read,
)
from ..prediction.folders.names import NamedPictures
from ..prediction.folders.parts import Parts
from ..prediction.folders.running import merge, open_input, parse_shard, predict_parts
from ..prediction.folders.tables import TablePictures
from ..prediction.formats import FORMATS
from .draw import check_above
from .messages import Parser, user_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``d2seg predict`` takes beside the arguments of ``d2seg draw``."""
    group = parser.add_argument_group("prediction over folders (docs/scaling.md)")
    add = group.add_argument
    add("--weights", metavar="FILE", help="short for MODEL.WEIGHTS FILE")
    add(
        "--format",
        choices=FORMATS,
        help="--input is then one folder (and those in it), a list of paths (.txt) or a table "
        "(.parquet), and --output a folder of parts and of files in this format",
    )
    add(
        "--shard", metavar="i/n", help="do the i-th of n shares, from 0; torchrun's ranks by itself"
    )
    add(
        "--batch", default="auto", metavar="N", help="pictures of one size at a time; auto: by size"
    )
    add("--part-size", type=int, metavar="N", help="pictures of a part; default: 200 at most")
    add("--merge", metavar="OUTPUT", help="alone, or with --format: write the files of all shards")


def make_merge_parser(prog: str | None) -> Parser:
    parser = Parser(prog=prog, description="Write the files of all shards.")
    parser.add_argument("--merge", required=True, type=user_path, metavar="OUTPUT")
    parser.add_argument("--format", choices=FORMATS, help="default: the one of the run")
    return parser


def run_merge(args: argparse.Namespace) -> int:
    """
    Returns:
        The exit code.

    Raises:
        ValueError: it is no folder of predictions, or not complete.
    """
    manifest = read(args.merge)
    return _merged(args.merge, manifest, args.format or manifest.format)


def run_folder(args: argparse.Namespace, cfg: CfgNode) -> int:
    """
    Args:
        args: of ``d2seg predict``, with a format.
        cfg: its config; the data sets are registered.

    Returns:
        The exit code.

    Raises:
        ValueError, ImportError: a mistake in the call.
        OSError: results cannot be written.
    """
    index, num_shards = _shard(args)
    batch_size = _batch_size(args.batch)
    if args.part_size is not None and args.part_size < 1:
        raise ValueError(f"--part-size is {args.part_size}; it is 1 or more")
    task = _task(args, cfg)
    source = _open(args)
    size = args.part_size or part_size(len(source), num_shards)
    threshold = args.confidence_threshold
    threshold = FORMATS[args.format].THRESHOLD if threshold is None else threshold
    manifest = describe_run(
        cfg,
        source,
        task=task,
        format=args.format,
        threshold=threshold,
        part_size=size,
        batch=str(args.batch),
    )
    manifest = check_folder(args.output, manifest, args.part_size is not None)
    predictor = BatchPredictor(
        cfg,
        task,
        confidence_threshold=threshold,
        batch_size=batch_size,
        num_threads=cfg.DATALOADER.NUM_WORKERS or None,
        imports=args.imports,
        device=_device(cfg),
    )
    parts = Parts(args.output, manifest.num_pictures, manifest.part_size)
    mine = range(index, len(parts), num_shards)
    if not set(mine).isdisjoint(parts.missing()):
        _ = predictor.predictor  # what is wrong with the model is found before the folder is made
    check_writable(str(args.output), "--output")
    claim(args.output, manifest)
    num_failed = predict_parts(predictor, source, parts, mine)
    if num_shards == 1:
        return _merged(args.output, manifest, args.format)
    print(
        f"shard {index}/{num_shards} is done, {num_failed} of its pictures failed; when all are: "
        f"d2seg predict --merge {printable(args.output)}",
        flush=True,
    )
    return int(num_failed > 0)


def _merged(output: Path, manifest: Manifest, format_name: str) -> int:
    written, num_failed = merge(output, manifest, format_name)
    names = ", ".join(map(printable, written))
    number = manifest.num_pictures - num_failed
    print(f"{number} predicted into {names}; {num_failed} failed, see failed.csv", flush=True)
    return int(num_failed > 0)


def _open(args: argparse.Namespace) -> NamedPictures | TablePictures:
    if args.webcam or args.output is None or len(args.input) != 1:
        raise ValueError("--format needs --output and one --input: a folder, a list or a table")
    if args.expressions:
        raise ValueError("--format takes no --expression; leave it out for referring segmentation")
    path = Path(expand_user(args.input[0]))
    if os.path.exists(args.output) and not args.output.is_dir():
        raise ValueError(f"--output {args.output} is a file; give a folder")
    check_above(args.output)
    output, folder = args.output.resolve(), path.resolve()
    if path.is_dir() and (folder == output or folder in output.parents):
        raise ValueError(f"--output {args.output} lies in --input {path}; give another folder")
    return open_input(path)


def _shard(args: argparse.Namespace) -> tuple[int, int]:
    if args.shard is not None:
        return parse_shard(args.shard)
    if is_torchrun():
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return 0, 1


def _batch_size(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--batch is {text!r}; it is auto, or a number from 1")
    return int(text)


def _task(args: argparse.Namespace, cfg: CfgNode) -> str:
    """The one that was asked for, or the first of the format that the model offers."""
    held = FORMATS[args.format].TASKS
    offered = tasks_of(cfg)
    task = args.task or next((task for task in held if task in offered), None)
    if task not in held:
        wanted = args.task or f"the model offers {', '.join(offered)}, which"
        raise ValueError(f"--format {args.format} is for {' or '.join(held)}; {wanted} is not")
    return choose_task(cfg, task)


def _device(cfg: CfgNode) -> str | None:
    """torchrun gives each of its processes a device of its own."""
    is_many = is_torchrun() and cfg.MODEL.DEVICE == "cuda"
    return f"cuda:{os.environ['LOCAL_RANK']}" if is_many else None
