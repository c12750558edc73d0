"""Try a model in the browser, on this machine: a page, and POST /predict for programs.

    d2seg serve --weights model_final.pth
    d2seg serve --config mask2former/coco_panoptic_resnet50 --weights model_final.pth --port 8000
    d2seg serve --weights model.onnx
    curl -F image=@street.jpg http://127.0.0.1:7860/predict

Listens on the loopback interface and nowhere else; docs/serving.md says how to reach it from
another machine, and what bounds a request. Needs pip install 'd2seg[web]'.
Exit code: 0 ended by Ctrl-C; 2 for a mistake in the call.
"""

import argparse
import math
import zlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec

import cv2

from ..acceleration import flush_denormals
from ..config.imports import import_modules
from ..data.shapes.render import render
from ..data.shapes.scene import compose_scene
from ..data.shapes.textures import RandomState
from ..prediction.all_tasks import AllTasks
from ..prediction.loading import Opened, open_weights
from .draw import load_model_config
from .imports import add_import_argument
from .messages import Parser, report_mistake, show_warnings, user_path

PORT = 7860
_PACKAGES = {  # what is imported, and what pip calls it
    "fastapi": "fastapi",
    "fastapi_offline": "fastapi-offline",
    "python_multipart": "python-multipart",
    "uvicorn": "uvicorn",
}
_NUM_SAMPLES = 4
_LIMITS = ("max_megabytes", "max_pixels", "max_waiting", "time_limit")


def make_parser(prog: str | None = None) -> Parser:
    parser = Parser(prog=prog, description=__doc__)
    add = parser.add_argument
    add("--config-file", metavar="CONFIG", help="file, or name in the model zoo")
    add(
        "--weights",
        help="a checkpoint, a file of d2seg export, or a name in the model zoo; a checkpoint that "
        "holds or implies its config needs no --config",
    )
    add("--port", type=int, default=PORT, help=f"default: {PORT}; 0: any that is free")
    add(
        "--samples",
        type=user_path,
        metavar="FOLDER",
        help="whose pictures the page offers; default: drawn scenes of the data set shapes",
    )
    add("--max-megabytes", type=float, default=32, metavar="N", help="of a file; default: 32")
    add("--max-pixels", type=int, default=16_000_000, metavar="N", help="default: 16 million")
    add(
        "--max-waiting",
        type=int,
        default=64,
        metavar="N",
        help="requests that wait for the model; further ones are refused. Default: 64",
    )
    add(
        "--time-limit",
        type=float,
        default=120,
        metavar="SECONDS",
        help="from the upload to the answer; default: 120",
    )
    add_import_argument(parser)
    add("--opts", nargs="*", default=[], metavar="KEY VALUE", help="changes to the config")
    add("pairs", nargs="*", default=[], metavar="KEY VALUE", help="the same, without --opts")
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if args.config_file is None and args.weights is None:
        parser.error("give --weights of a model, --config, or both")
    show_warnings("%(levelname)s: %(message)s")
    flush_denormals()
    try:
        serve(args)
    except (ValueError, ImportError, OSError) as error:
        return report_mistake(error)
    return 0


def serve(args: argparse.Namespace) -> None:
    """Serve until Ctrl-C.

    Raises:
        ValueError, ImportError, OSError: a mistake in the call.
    """
    check_packages()
    check_limits(args)
    from ..serving.app import make_app
    from ..serving.assets import Sample, samples_of
    from ..serving.questions import Limits
    from ..serving.run import HOST, bind, run

    limits = Limits(
        max_bytes=round(args.max_megabytes * 1e6),
        max_pixels=args.max_pixels,
        max_waiting=args.max_waiting,
        answer_seconds=args.time_limit,
    )
    with bind(args.port) as listening:  # before the model is loaded, as all that may be wrong
        if args.samples is None:
            samples = [Sample(name, png, "image/png") for name, png in drawn_samples(_NUM_SAMPLES)]
        else:
            samples = samples_of(args.samples, limits.max_bytes)
        model = AllTasks(open_model(args))
        about = model.describe()
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        line = (
            f"{about['method']} on {about['device']} ({', '.join(about['tasks'])}): {address}, "
            "Ctrl-C ends it"
        )
        run(make_app(model, limits, samples), listening, lambda: print(line, flush=True))


def check_limits(args: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: one of the limits is no number above 0.
    """
    for name in _LIMITS:
        value = getattr(args, name)
        if not 0 < value < math.inf:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} is {value:g}; it is a number above 0")


def check_packages() -> None:
    """
    Raises:
        ModuleNotFoundError: what serves is not installed.
    """
    missing = [name for module, name in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise ModuleNotFoundError(
            f"d2seg serve needs {', '.join(missing)}, which is missing: pip install 'd2seg[web]'"
        )


def open_model(args: argparse.Namespace) -> Opened:
    """
    Raises:
        ValueError: config and weights are missing, damaged, or do not go together.
    """
    pairs = [*args.opts, *args.pairs]
    if args.config_file is None:
        if pairs:
            raise ValueError(f"{' '.join(pairs)}: KEY VALUE pairs change a config; give --config")
        import_modules(args.imports)
        return open_weights(args.weights)
    settings = argparse.Namespace(**vars(args), confidence_threshold=None)
    cfg = load_model_config(settings)
    if args.weights is not None:
        cfg.MODEL.WEIGHTS = args.weights
    if not cfg.MODEL.WEIGHTS:
        raise ValueError(f"--config {args.config_file} names no weights: give --weights")
    return Opened(cfg, None, None)


def drawn_samples(number: int) -> Iterator[tuple[str, bytes]]:
    """Names and PNG files of scenes that no training has seen: their seeds are of no split."""
    for place in range(number):
        rng = RandomState(zlib.crc32(f"serve/{place}".encode()))
        picture = render(compose_scene(rng), rng)[..., ::-1]
        _, png = cv2.imencode(".png", picture)
        yield f"shapes_{place + 1}.png", png.tobytes()
