"""The argument that brings a user's own registrations."""

import argparse


def add_import_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--import MODULE``, for ``load_config(..., imports=args.imports)``."""
    parser.add_argument(
        "--import",
        action="append",
        default=[],
        dest="imports",
        metavar="MODULE",
        help="import a module of yours, whose registrations the config may then name; of the "
        "current folder or the environment; may be given several times",
    )
