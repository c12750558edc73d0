"""Write what a model sees in pictures, as data: label maps as PNG, the rest as predictions.json.

    d2seg predict --config CONFIG --input street.jpg photos/ --output predicted/ \\
        --opts MODEL.WEIGHTS model_final.pth MODEL.DEVICE cpu

The arguments are those of d2seg draw. docs/command.md says what is written for each task.
Exit code: 0; 1 when an input could not be read; 2 for a mistake in the call.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
from detectron2.data import Metadata
from tqdm import tqdm

from ..pictures import drawing_failure
from ..prediction.writing import write_index, write_prediction
from ..visualization.media import UnreadableError, is_video, plan_outputs, read_picture
from .draw import Predict, collect, make_parser, make_predict


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    parser = make_parser(prog)
    parser.description = __doc__
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        files, missing = check(args)
        outputs = plan_outputs(files, args.output)
        predict, metadata = make_predict(args)
        args.output.mkdir(parents=True, exist_ok=True)
        unread = [f"{name}: no such file" for name in missing]
        unread += run(predict, metadata, files, outputs)
    except (ValueError, OSError, ImportError) as error:
        parser.error(" ".join(str(error).split()))
    for line in unread:
        tqdm.write(line)
    number = len(files) + len(missing) - len(unread)
    print(f"{number} predicted into {args.output}, {len(unread)} could not be read", flush=True)
    return int(bool(unread))


def check(args: argparse.Namespace) -> tuple[list[Path], list[str]]:
    """Pictures, and paths that name none.

    Raises:
        ValueError: no folder to write to, a camera or a video.
    """
    if args.webcam or args.output is None:
        raise ValueError("give --input and --output; d2seg draw takes a camera")
    files, missing = collect(args)
    videos = [path for path in files if is_video(path)]
    if videos:
        raise ValueError(f"--input: {videos[0]} is a video; d2seg draw takes these")
    return files, missing


def run(
    predict: Predict, metadata: Metadata, files: Sequence[Path], outputs: Sequence[Path]
) -> list[str]:
    """Write the predictions of each picture; return what is to be said of those that are broken.

    Raises:
        OSError: an output cannot be written.
    """
    entries, unread = {}, []
    names = metadata.as_dict()
    for path, output in zip(tqdm(files, unit="file"), outputs, strict=True):
        try:
            prediction = predict(read_picture(path))
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
