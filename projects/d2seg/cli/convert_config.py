"""Rewrite a config of the official MaskFormer or Mask2Former repository for this project.

    d2seg convert --config OFFICIAL.yaml OUT.yaml

OFFICIAL.yaml stands with the files that its _BASE_ names. What cannot be carried over is listed on
stderr. Exit code: 0; 1 when something was left out; 2 for a mistake in the call.
"""

import sys
from collections.abc import Sequence

import yaml

from ..config.official import convert_official
from ..names import printable
from .messages import Parser, user_path


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("source", metavar="OFFICIAL.yaml", type=user_path, help="config to read")
    parser.add_argument("target", metavar="OUT.yaml", type=user_path, help="config to write")
    args = parser.parse_args(argv)
    try:
        if args.target.exists() and args.source.exists() and args.target.samefile(args.source):
            raise ValueError(f"OUT.yaml is the same file as OFFICIAL.yaml, {args.target}")
        conversion = convert_official(args.source)
        args.target.write_text(yaml.safe_dump(conversion.tree(), sort_keys=True))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for line in conversion.left:
        sys.stderr.write(f"not carried over: {printable(line)}\n")
    print(
        f"{printable(args.target)}: {len(conversion.carried)} keys, {len(conversion.left)} left out"
    )
    return 1 if conversion.left else 0
