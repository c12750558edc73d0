"""What the server of ``families.programs`` has imported before it forks; imported there alone."""

import os

# data sets that are registered by these imports are then looked for in the ``datasets`` of the
# folder that a program runs in, wherever the tests' own are
os.environ.pop("DETECTRON2_DATASETS", None)

import d2seg.cli.draw
import d2seg.cli.train  # noqa: F401
import d2seg_process  # noqa: F401
