"""Write what a model sees in pictures, as data: label maps as PNG, the rest as predictions.json.

    d2seg predict --config CONFIG --input street.jpg photos/ --output predicted/ \\
        --opts MODEL.WEIGHTS model_final.pth MODEL.DEVICE cpu

The arguments are those of d2seg draw. docs/command.md says what is written for each task.
With --format, for any number of pictures, in parts that survive the process, in the formats of
other programs, on one machine or on many (docs/scaling.md):

    d2seg predict --config CONFIG --weights model_final.pth --input photos/ --output predicted/ \\
        --format coco
    d2seg predict ... --shard $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT     on each machine
    d2seg predict --merge predicted/                                            and in the end

Exit code: 0; 1 when an input could not be read, or a disk takes no more; 2 for a mistake in the
call; 130 ended by Ctrl-C.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
from tqdm import tqdm

from ..acceleration import flush_denormals
from ..engine.output_folder import check_folder
from ..names import printable
from ..pictures import drawing_failure
from ..prediction.inputs import read_file
from ..prediction.predictor import Predictor
from ..prediction.writing import write_index, write_prediction
from ..visualization.media import UnreadableError, is_video, plan_outputs
from .draw import Predict, check_above, collect, load_model_config, make_predict
from .draw import make_parser as make_draw_parser
from .messages import Parser, report_mistake, show_warnings
from .predict_folders import add_arguments, make_merge_parser, run_folder, run_merge


def make_parser(prog: str | None = None) -> Parser:
    parser = make_draw_parser(prog)
    add_arguments(parser)
    parser.description = __doc__
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    argv = sys.argv[1:] if argv is None else argv
    if any(item.startswith("--merge") for item in argv):
        return _guarded(run_merge, make_merge_parser(prog).parse_args(argv))
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if args.track:
        parser.error("--track is for videos; d2seg draw takes these")
    if args.weights is not None:
        args.opts = [*args.opts, "MODEL.WEIGHTS", args.weights]
    show_warnings("%(levelname)s: %(message)s")
    flush_denormals()
    if args.format is not None:
        return _guarded(lambda given: run_folder(given, load_model_config(given)), args)
    try:
        if args.shard or args.part_size:
            raise ValueError("--shard and --part-size go with --format")
        files, missing = check(args)
        outputs = plan_outputs(files, args.output)
        predict, predictor = make_predict(args)
        check_folder(str(args.output), "--output")  # and make it
        unread = [f"{name}: no such file" for name in missing]
        unread += run(predict, predictor, files, outputs)
    except (ValueError, OSError, ImportError) as error:
        parser.error(str(error))
    for line in unread:
        tqdm.write(printable(line))
    number = len(files) + len(missing) - len(unread)
    where = printable(args.output)
    print(f"{number} predicted into {where}, {len(unread)} could not be read", flush=True)
    return int(bool(unread))


def _guarded(work: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """The exit code of ``work``; what is wrong with the call or the disk is said in one line."""
    try:
        return work(args)
    except (ValueError, ImportError) as error:
        return report_mistake(error)
    except OSError as error:
        report_mistake(error)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped; the same call goes on with the parts that are missing\n")
        return 130


def check(args: argparse.Namespace) -> tuple[list[Path], list[str]]:
    """Pictures, and paths that name none.

    Raises:
        ValueError: no folder to write to, or none that can be made; a camera or a video.
    """
    if args.webcam or args.output is None:
        raise ValueError("give --input and --output; d2seg draw takes a camera")
    check_above(args.output)
    files, missing = collect(args)
    videos = [path for path in files if is_video(path)]
    if videos:
        raise ValueError(f"--input: {videos[0]} is a video; d2seg draw takes these")
    return files, missing


def run(
    predict: Predict, predictor: Predictor, files: Sequence[Path], outputs: Sequence[Path]
) -> list[str]:
    """Write the predictions of each picture; return what is to be said of those that are broken.

    Raises:
        OSError: an output cannot be written.
    """
    entries, unread = {}, []
    names = predictor.metadata.as_dict()
    for path, output in zip(tqdm(files, unit="file"), outputs, strict=True):
        try:
            prediction = predict(read_file(path, predictor.reader))
        except UnreadableError as error:
            unread.append(str(error))
            continue
        except (RuntimeError, MemoryError, cv2.error) as error:
            reason = drawing_failure(error)
            if reason is None:
                raise
            unread.append(f"{path}: cannot be predicted: {reason}")
            continue
        entries[str(path)] = write_prediction(output.parent, output.stem, prediction, names)
    write_index(outputs[0].parent, entries)
    return unread
