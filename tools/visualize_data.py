#!/usr/bin/env python
"""Draw the ground truth of data sets into PNG files: ``d2seg visualize``."""

import sys

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

from d2seg.cli.visualize import main

if __name__ == "__main__":
    sys.exit(main())
