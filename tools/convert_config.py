#!/usr/bin/env python
"""Rewrite a config of the official repositories: ``d2seg convert --config``."""

import sys

from d2seg_process import prepare_process

prepare_process()  # before the imports that warn

from d2seg.cli.convert_config import main

if __name__ == "__main__":
    sys.exit(main())
