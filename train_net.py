#!/usr/bin/env python
"""Train, resume or evaluate any model: ``d2seg train`` and, with --eval-only, ``d2seg eval``."""

import sys

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

from d2seg.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
