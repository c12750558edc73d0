"""``python -m d2seg``, the same as the command ``d2seg``."""

import sys

from d2seg_command import main

if __name__ == "__main__":
    sys.exit(main())
