#!/usr/bin/env python
"""Rename the weights of a checkpoint to another layout: ``d2seg convert``."""

import sys

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

from d2seg.cli.convert import main

if __name__ == "__main__":
    sys.exit(main())
