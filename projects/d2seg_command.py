"""The program ``d2seg``: prepares its process, then hands its arguments to ``d2seg.cli``."""

import sys

from d2seg_process import prepare_process

prepare_process()  # here, since each process of a training imports this module


def main() -> int:
    """Run the command line of this process.

    Returns:
        The exit code.
    """
    try:
        from d2seg.cli import main as run
    except ImportError as error:
        if error.name != "detectron2":
            raise
        sys.stderr.write(f"d2seg: error: {error}\n")
        return 2
    return run()
