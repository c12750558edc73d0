"""Command-line arguments of the tools that go through data sets, or prepare them."""

import argparse
import os
from collections.abc import Sequence

from detectron2.config import CfgNode

from ..config.imports import import_modules
from ..config.loading import load_config
from ..data.catalog import check_files
from ..data.datasets.builtin import datasets_root
from ..data.datasets.declaration import register_declarations
from ..data.faults import AnnotationFileError
from .imports import add_import_argument
from .messages import Parser, user_path


def dataset_parser(description: str | None, prog: str | None = None) -> Parser:
    """A parser of data sets by name, by declaration (docs/own_data.md) or by config."""
    parser = Parser(prog=prog, description=description)
    parser.add_argument("targets", nargs="*", help="names of data sets, or declaration files")
    parser.add_argument("--config-file", help="a config of this project or of the model zoo")
    add_import_argument(parser)
    parser.add_argument("--opts", nargs="*", default=[], help="KEY VALUE ... for the config")
    return parser


def preparation_parser(description: str | None) -> Parser:
    """A parser of ``tools/prepare_*.py``, with ``--root`` (of the data sets) and ``--workers``."""
    parser = Parser(description=description)
    parser.add_argument(
        "--root",
        type=user_path,
        default=datasets_root(),
        help="folder that holds the data sets; default: $DETECTRON2_DATASETS or ./datasets",
    )
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="files to work on at once"
    )
    return parser


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """What :func:`dataset_parser` has made of the arguments; ends the script if they say no data
    set."""
    args = parser.parse_args(argv)
    if not args.targets and args.config_file is None:
        parser.error("name a data set, a declaration file or --config-file")
    return args


def read_targets(
    args: argparse.Namespace, splits: Sequence[str], unusable: dict[str, str] | None = None
) -> tuple[list[str], CfgNode | None]:
    """The registered names of the data sets, and the config if there is one.

    Args:
        splits: "TRAIN", "TEST": the config's data sets of these, where no others are named.
        unusable: gets declarations whose annotation files cannot be used, with the reason; None:
            the first one is raised

    Raises:
        ValueError: a declaration or the config is wrong, or a data set is unknown or not there.
    """
    import_modules(args.imports)
    names: list[str] = []
    for target in args.targets:
        is_file = target.endswith((".yaml", ".yml", ".json"))
        try:
            names += register_declarations([target]) if is_file else [target]
        except AnnotationFileError as error:
            if unusable is None:
                raise
            unusable[target] = str(error)
    cfg = None
    if args.config_file is not None:
        cfg = load_config(args.config_file, args.opts, imports=args.imports)
        register_declarations(cfg.DATASETS.DECLARATIONS)
        of_config = (name for split in splits for name in cfg.DATASETS[split])
        names = names if args.targets else list(dict.fromkeys(of_config))
    check_files(names)
    return names, cfg
