#!/usr/bin/env python
"""Go through data sets and list everything that is wrong with them: ``d2seg check``."""

import sys

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

from d2seg.cli.check import main

if __name__ == "__main__":
    sys.exit(main())
