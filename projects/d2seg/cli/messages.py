"""What a word of the command says when it cannot do its work."""

import sys

MISTAKE = 2  # the exit code


def report_mistake(error: Exception) -> int:
    """Write the message in one line to stderr; return the exit code."""
    sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
    return MISTAKE
