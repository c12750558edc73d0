r"""Draw what a model sees in pictures, in videos or through a camera.

    python demo.py --config-file CONFIG --input street.jpg photos/ --output drawn/ \
        --opts MODEL.WEIGHTS model_final.pth MODEL.DEVICE cpu

CONFIG is a file, or the name of a config of detectron2's model zoo, whose weights are then fetched.
A model of referring segmentation looks for what it is told, each in a colour of its own:

    ... --expression "the dog on the left" --expression "the red car" --opts ...

What it does not find is listed in the picture and on stderr.
Exit code: 0; 1 when an input could not be read, wholly or in part; 2 for a mistake in the call.
"""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.env import seed_all_rng

from ..acceleration import flush_denormals
from ..config.files import own_keys
from ..config.input_checks import check_channels
from ..config.loading import load_config
from ..config.stock_keys import check_stock_keys
from ..config.tasks import TASKS, choose_task
from ..data.catalog import check_class_names, check_drawn_classes
from ..data.datasets.declaration import register_declarations
from ..data.readers import build_reader
from ..engine.output_folder import check_folder
from ..names import printable
from ..prediction.building import build_predictor
from ..prediction.inputs import read_file
from ..prediction.predictor import TRACKED_TASKS, Predictor
from ..visualization.media import Window, find_inputs, is_video, plan_outputs
from ..visualization.runner import Runner
from ..visualization.video_reading import import_av
from .imports import add_import_argument
from .messages import Parser, show_warnings, user_path

Predict = Callable[[np.ndarray], dict]

INSTANCE_THRESHOLD = 0.5  # detectors also give many boxes that are hardly ever right


def make_parser(prog: str | None = None) -> Parser:
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add("--config-file", required=True, metavar="CONFIG", help="file, or name in the model zoo")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="pictures, videos, folders of them, or glob patterns in quotes",
    )
    source.add_argument("--webcam", action="store_true", help="the first camera; Ctrl-C ends it")
    add("--output", type=user_path, metavar="FOLDER", help="default: windows, which q or Esc ends")
    add("--task", choices=TASKS, help="default: the first of these that the model offers")
    add(
        "--expression",
        action="append",
        default=[],
        metavar="TEXT",
        dest="expressions",
        help="what to look for (task referring); may be given several times",
    )
    add(
        "--confidence-threshold",
        type=float,
        metavar="T",
        help="from 0 to 1. panoptic: segments that score below T are left out (default: as the "
        f"config says); instance: likewise detections (default: {INSTANCE_THRESHOLD}); semantic: "
        "pixels whose best class is less probable than T stay bare (default: none); referring: an "
        "expression that scores below T counts as not found (default: none)",
    )
    add(
        "--track",
        action="store_true",
        help="write ids into the frames of videos, which their objects keep (panoptic, instance)",
    )
    add_import_argument(parser)
    add("--opts", nargs="*", default=[], metavar="KEY VALUE", help="changes to the config")
    add("pairs", nargs="*", default=[], metavar="KEY VALUE", help="the same, without --opts")
    return parser


def collect(args: argparse.Namespace) -> tuple[list[Path], list[str]]:
    """Files to draw, and paths that name none.

    Raises:
        ValueError: nothing is there at all.
    """
    files, missing = find_inputs(args.input)
    if any(re.fullmatch(r"[A-Z0-9_]+(\.[A-Z0-9_]+)*", item) for item in missing):
        raise ValueError(f"--input: no file '{missing[0]}'; write --opts before KEY VALUE pairs")
    if not files:
        shown = ", ".join(item or "''" for item in args.input)
        raise ValueError(f"--input: no picture or video in {shown}")
    return files, missing


def _drawable(predictor: Predictor, expressions: list[str], image: np.ndarray) -> dict:
    """What is drawn over ``image``, (H, W, 3) uint8 RGB or what the predictor's reader gives."""
    return predictor(image, channel_order="RGB", expressions=expressions).drawable()


def make_predict(args: argparse.Namespace, has_videos: bool = False) -> tuple[Predict, Predictor]:
    """From what ``read_file`` gives to the prediction of the task; and the model.

    Args:
        has_videos: frames of videos are among what is predicted, RGB (H, W, 3).

    Raises:
        ValueError: the config, the task, the expressions or the weights do not go together.
    """
    cfg = load_model_config(args)
    if has_videos and not build_reader(cfg).takes_rgb:
        raise ValueError(
            "--input: a video's frames are RGB; a model with INPUT.READER "
            f"{cfg.INPUT.READER} takes files of {len(cfg.MODEL.PIXEL_MEAN)} bands"
        )
    task = choose_task(cfg, args.task, args.expressions)
    if args.track and task not in TRACKED_TASKS:
        raise ValueError(
            f"--track keeps the ids of objects, which the task {task} has none of; it goes with "
            f"--task {' or '.join(TRACKED_TASKS)}"
        )
    threshold = args.confidence_threshold
    if threshold is None and task == "instance":
        threshold = INSTANCE_THRESHOLD
    predictor = build_predictor(cfg, task, threshold)
    predictor.check_expressions(args.expressions)
    return partial(_drawable, predictor, args.expressions), predictor


def load_model_config(args: argparse.Namespace) -> CfgNode:
    """The config of a call, its data sets registered and compared with it.

    Raises:
        ValueError: the threshold or the config makes no sense.
    """
    threshold = args.confidence_threshold
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"--confidence-threshold is {threshold}; it lies between 0 and 1")
    pairs = [*args.opts, *args.pairs]
    cfg = load_config(args.config_file, pairs, labels=True, trained=True, imports=args.imports)
    check_stock_keys(cfg, {*pairs[0::2], *own_keys(args.config_file)})
    check_channels(cfg)
    register_declarations(cfg.DATASETS.DECLARATIONS)  # names and colours of one's own data
    _check_classes(cfg)
    return cfg


def _check_classes(cfg: CfgNode) -> None:
    """See, before the model is built, that names and colours are those of its classes."""
    names = [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN]
    if names:
        check_drawn_classes(cfg, MetadataCatalog.get(names[0]))
    check_class_names([name for name in names if name in DatasetCatalog])


def make_runner(args: argparse.Namespace, has_videos: bool) -> Runner:
    if args.track and not has_videos:
        raise ValueError("--track: there is no video among --input, and no --webcam")
    window = Window("d2seg") if args.output is None else None
    predict, predictor = make_predict(args, has_videos)
    reader = predictor.reader
    return Runner(
        predict,
        predictor.metadata,
        window,
        show_ids=args.track,
        read=partial(read_file, reader=reader),
        shown=None if reader is None else reader.shown,
    )


def check_above(output: Path, option: str = "--output") -> None:
    """See that ``output`` is or can become a folder, and make none yet.

    Raises:
        ValueError: it lies below a file.
    """
    there = next(path for path in (output, *output.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise ValueError(f"{option} {output} cannot be made: {there} is no folder; name another")


def prepare(args: argparse.Namespace) -> tuple[Runner, Callable[[], None]]:
    """The runner, and what remains to be called.

    Raises:
        ValueError, OSError: a mistake in the call.
        ImportError: a package is missing.
    """
    if args.output is not None:  # nothing is made before all else is right
        check_above(args.output)
    if args.webcam:
        if args.output is not None:
            import_av()  # before the model is loaded
        runner = make_runner(args, has_videos=True)
        output = None if args.output is None else args.output / "webcam.mp4"
        draw = partial(runner.run_camera, 0, output)
    else:
        files, missing = collect(args)
        outputs, has_videos = [None] * len(files), any(map(is_video, files))
        if args.output is not None:
            outputs = plan_outputs(files, args.output)
        elif has_videos:
            import_av()
        runner = make_runner(args, has_videos)
        for name in missing:
            runner.report(f"{name}: no such file")
        draw = partial(runner.run_files, files, outputs)
    if args.output is not None:
        check_folder(str(args.output), "--output")  # and make it
    return runner, draw


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    show_warnings("%(levelname)s: %(message)s")
    flush_denormals()
    seed_all_rng(0)  # the same colours in every run
    try:
        runner, draw = prepare(args)
    except (ValueError, OSError, ImportError) as error:
        parser.error(str(error))
    try:
        draw()
    except OSError as error:  # a full disk, no camera
        parser.error(str(error))
    except KeyboardInterrupt:
        return 130
    where = f" into {printable(args.output)}" if args.output is not None else ""
    print(f"{runner.num_drawn} drawn{where}, {runner.num_failed} could not be read", flush=True)
    return 1 if runner.num_failed else 0
