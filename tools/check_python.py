"""Stop with one line if this Python is too old or too new. Runs on every Python, even on 2.7."""
# ruff: noqa: UP031 -- older Pythons know no f-strings

import sys

OLDEST, NEWEST = (3, 10), (3, 13)  # as python_requires in setup.py says

if not OLDEST <= sys.version_info[:2] <= NEWEST:
    sys.exit(
        "setup: Python 3.10 to 3.13 is needed, and this is %d.%d (%s); "
        "run make again with one of these, as in PYTHON=python3.12"
        % (sys.version_info[0], sys.version_info[1], sys.executable)
    )
