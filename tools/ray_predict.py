#!/usr/bin/env python
"""Predict a Parquet table of pictures with Ray Data, on one machine or a cluster of Ray's.

    pip install 'd2seg[ray]'
    python tools/ray_predict.py --config C --weights W --input pictures.parquet --output OUT \\
        --task panoptic --actors 8 --gpus-per-actor 1

The table has a column ``path`` or ``bytes``, and perhaps ``id``; the output is a folder of Parquet
files with a row for each of its rows (d2seg/prediction/columns.py, docs/scaling.md). An actor holds
the model once. Ray gives the rows of a lost machine to another one; the folder is complete when the
call ends. d2seg is installed, and --weights lie, at the same path on every machine.
Exit code: 0; 1 some pictures could not be predicted, and have an ``error``; 2 a mistake.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from types import ModuleType

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

from d2seg.cli.messages import Parser, report_mistake, show_warnings, user_path
from d2seg.config.loading import load_config
from d2seg.config.tasks import choose_task
from d2seg.data.datasets.declaration import register_declarations
from d2seg.engine.output_folder import check_folder
from d2seg.names import printable
from d2seg.prediction.batch import BatchPredictor
from d2seg.prediction.columns import ColumnPredictor
from d2seg.prediction.folders.tables import TablePictures


def import_ray() -> ModuleType:
    """Ray with its part for data.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ImportError(f"Ray Data is missing ({error}): pip install 'd2seg[ray]'") from error
    return ray


def make_parser() -> Parser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", "--config-file", dest="config_file", required=True, metavar="FILE")
    add("--weights", required=True, metavar="FILE")
    add("--input", required=True, type=user_path, metavar="TABLE", help="a Parquet file")
    add("--output", required=True, type=user_path, metavar="FOLDER", help="new or empty")
    add("--task", choices=("semantic", "instance", "panoptic"), help="default: the model's first")
    add("--threshold", type=float, metavar="T", help="results that score less are left out")
    add("--actors", type=int, default=2, help="processes with a model each; default: 2")
    add("--rows", type=int, default=64, help="pictures that an actor takes at a time; default: 64")
    add("--cpus-per-actor", type=float, default=1.0)
    add("--gpus-per-actor", type=float, default=0.0)
    add("--address", help="of a cluster of Ray's, as auto; default: one of this machine alone")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="override the config")
    return parser


def predict(args: argparse.Namespace) -> int:
    """
    Returns:
        How many pictures could not be predicted.

    Raises:
        ValueError, ImportError: a mistake in the call.
    """
    ray = import_ray()
    for name in ("actors", "rows"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name} is {getattr(args, name)}; it is 1 or more")
    if not 0 < args.cpus_per_actor < math.inf or not 0 <= args.gpus_per_actor < math.inf:
        raise ValueError(
            f"--cpus-per-actor is {args.cpus_per_actor:g} and --gpus-per-actor "
            f"{args.gpus_per_actor:g}; the first is above 0, the second 0 or more"
        )
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        raise ValueError(f"--threshold is {args.threshold}; it lies between 0 and 1")
    table = TablePictures(args.input)
    check_folder(str(args.output), "--output")
    if any(args.output.iterdir()):
        raise ValueError(f"--output {args.output} is not empty; name a new folder")
    opts = ["MODEL.WEIGHTS", args.weights, *args.opts]
    cfg = load_config(args.config_file, opts, labels=True)
    register_declarations(cfg.DATASETS.DECLARATIONS)
    predictor = BatchPredictor(
        cfg,
        choose_task(cfg, args.task),
        confidence_threshold=args.threshold,
        num_threads=max(1, int(args.cpus_per_actor)),
        device="auto" if args.gpus_per_actor else "cpu",
    )
    _ = predictor.predictor  # what is wrong with the model is found before any process starts
    wanted = args.actors * args.cpus_per_actor
    # what is read and written needs a core beside those of the actors, or all would wait for it
    local = {} if args.address else {"num_cpus": math.ceil(wanted) + 2, "include_dashboard": False}
    ray.init(address=args.address, log_to_driver=False, ignore_reinit_error=True, **local)
    try:
        found = ray.cluster_resources().get("CPU", 0)
        if found <= wanted:
            raise ValueError(
                f"{args.actors} actors of {args.cpus_per_actor:g} cores leave none of the "
                f"cluster's {found:g} to read and write with; set one of the two options lower"
            )
        results = ray.data.read_parquet(str(args.input)).map_batches(
            ColumnPredictor,
            fn_constructor_args=(predictor, table.base),
            batch_size=args.rows,
            num_cpus=args.cpus_per_actor,
            num_gpus=args.gpus_per_actor,
            compute=ray.data.ActorPoolStrategy(size=args.actors),
        )
        results.write_parquet(str(args.output.resolve()))
        errors = ray.data.read_parquet(str(args.output.resolve()), columns=["error"])
        return errors.filter(lambda row: row["error"] != "").count()
    finally:
        ray.shutdown()


def main(argv: Sequence[str] | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    show_warnings()
    args = make_parser().parse_args(argv)
    try:
        num_failed = predict(args)
    except (ValueError, ImportError, OSError) as error:
        return report_mistake(error)
    print(printable(f"{args.output}: written; {num_failed} pictures failed"))
    return int(num_failed > 0)


if __name__ == "__main__":
    sys.exit(main())
