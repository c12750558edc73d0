"""What happens when a run can write no more: one line, and the state of the training in it."""

import errno
import logging
import os
import sys
from typing import Any

from ..checkpoint.files import WriteError

_NUMBERS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),  # full, in one way or another
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE),
}


def is_write_error(error: BaseException) -> bool:
    """Whether a disk could take no more, as the error of a file or of torch's writer says."""
    if isinstance(error, WriteError):
        return True
    return isinstance(error, OSError) and error.errno in _NUMBERS


def report_once(logger_names: tuple[str, ...] = ("detectron2", "fvcore", "d2seg")) -> None:
    """Let a log file that cannot be written to be said once, in a line.

    Python's handlers show a traceback for each record instead, and another one when the file is
    closed.
    """
    for name in logger_names:
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream not in (
                sys.stdout,
                sys.stderr,
            ):
                handler.handleError = _Reporter(handler)


class _Reporter:
    def __init__(self, handler: logging.StreamHandler) -> None:
        self._handler = handler
        self._default = handler.handleError

    def __call__(self, record: Any) -> None:
        error = sys.exc_info()[1]
        if error is None or not is_write_error(error):
            self._default(record)
            return
        name = getattr(self._handler.stream, "name", "a log file")
        sys.stderr.write(f"warning: {name} cannot be written to any more: {error}\n")
        # what its buffer holds, and all that follows, goes nowhere, so that closing it succeeds
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._handler.stream.fileno())
        os.close(nowhere)
