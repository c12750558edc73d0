"""Make report.html of an evaluation again, from the files that it left, without the model.

    d2seg report output/demo

OUTPUT_DIR is that of `d2seg eval`, or of a training that ended with an evaluation. The page needs
no network and no other file.
Exit code: 0; 2 for a mistake in the call, or files that are missing or damaged.
"""

from collections.abc import Sequence

from ..evaluation.report import write_report
from ..names import printable
from .messages import Parser, report_mistake, user_path


def make_parser(prog: str | None = None) -> Parser:
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("output_dir", nargs="?", type=user_path, help="OUTPUT_DIR of the run")
    return parser


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """
    Returns:
        The exit code.
    """
    parser = make_parser(prog)
    args = parser.parse_args(argv)
    if args.output_dir is None:
        parser.error("name the OUTPUT_DIR of an evaluation")
    if not args.output_dir.is_dir():
        parser.error(f"there is no folder {args.output_dir}")
    try:
        path = write_report(args.output_dir)
    except (ValueError, ImportError, OSError) as error:
        return report_mistake(error)
    print(printable(path))
    return 0
