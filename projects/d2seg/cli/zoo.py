"""List the configs of this project and what their authors published of them.

    d2seg zoo --method mask2former --dataset coco
    d2seg zoo mask2former/coco_panoptic_resnet50            all that is known of one
    d2seg zoo mask2former/coco_panoptic_resnet50 --fetch    fetches its weights, prints their path

Results were published by the authors, not measured here; of two, the first is for a single scale.
Exit code: 0; 2 for a mistake in the call or weights that cannot be fetched.
"""

import dataclasses
from collections.abc import Sequence

from tabulate import tabulate

from .. import model_zoo
from ..checkpoint.files import find_file
from .messages import Parser, report_mistake

COLUMNS = ("name", "metric", "result", "licence", "weights")


def make_parser(prog: str | None = None) -> Parser:
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("name", nargs="?", help="of a config; default: all of them")
    for part in ("method", "task", "dataset"):
        parser.add_argument(f"--{part}", help=f"list the configs of this {part} alone")
    parser.add_argument("--fetch", action="store_true", help="fetch the weights of NAME")
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    args = make_parser(prog).parse_args(argv)
    try:
        if args.fetch and args.name is None:
            raise ValueError("--fetch needs the NAME of a config; d2seg zoo lists them")
        if args.fetch:
            print(find_file(model_zoo.get_checkpoint_url(args.name)))
        elif args.name is not None:
            print(describe(args.name))
        else:
            print(table(model_zoo.list(args.method, args.task, args.dataset)))
    except (ValueError, ImportError) as error:
        return report_mistake(error)
    return 0


def table(names: Sequence[str]) -> str:
    """A line for each config."""
    entries = map(model_zoo.get_entry, names)
    rows = [
        (entry.name, entry.metric, entry.result, entry.licence, entry.file_name)
        for entry in entries
    ]
    return tabulate(rows, headers=COLUMNS, disable_numparse=True)


def describe(name: str) -> str:
    """What the table knows of one config, and where its file is."""
    entry = dataclasses.asdict(model_zoo.get_entry(name))
    known = {key: value for key, value in entry.items() if value}
    return tabulate([*known.items(), ("config", model_zoo.get_config_file(name))], tablefmt="plain")
