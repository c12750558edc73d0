"""The program ``d2seg``: what comes before the package can be imported."""

import importlib.util
import sys
import sysconfig

from d2seg_process import prepare_process

prepare_process()  # here, since each process of a training imports this module

# as tools/setup_env.py installs it; its only compiled file is optional
INSTALL = (
    "pip install --no-deps --only-binary=:all: --python-version 3.10 --implementation cp "
    f"--abi none --platform any --target {sysconfig.get_path('purelib')} sal-detectron2==0.7.2"
)


def main() -> int:
    """Run the command line of this process.

    Returns:
        The exit code.
    """
    if importlib.util.find_spec("detectron2") is None:
        sys.stderr.write(
            "d2seg: detectron2 is not installed; its maintainers publish no package, this brings a "
            f"copy of their main branch: {INSTALL}\n"
        )
        return 2
    from d2seg.cli import main as run

    return run()
