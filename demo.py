#!/usr/bin/env python
"""Draw what a model sees in pictures, in videos or through a camera: ``d2seg draw``."""

import sys

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

from d2seg.cli.draw import main

if __name__ == "__main__":
    sys.exit(main())
