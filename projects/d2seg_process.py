"""What the programs of this project ask of their process; ``import d2seg`` itself changes nothing.

Outside the package and with the standard library alone, because a program calls
:func:`prepare_process` before the imports that warn. Variables that a user has set are left alone.

Memory (Linux): the system hands out fresh memory page by page, cleared, at the first touch; for
maps of many MiB that costs more than many a computation on them.
"""

import atexit
import ctypes
import gc
import os
import platform
import sys
import warnings
from typing import Any

# numbers of <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
KEPT_AT_MOST = 1 << 30  # bytes, free at the end of the heap
_NEW_OBJECTS = 7000  # between two looks for unreachable cycles; Python's own value is 700 to 2000


def prepare_process() -> None:
    """Set how memory is kept, and hide the warnings and tracebacks of no use to a user."""
    end_at_once()  # first, so that it runs after all that others do at the end
    end_in_a_line()
    collect_less_often()
    ask_for_huge_pages()
    keep_freed_memory()
    hide_warnings()


def end_at_once() -> None:
    """Leave what lives at the end to the system: Python would search the million objects of the
    imports for cycles once more, which takes a second. What ``atexit`` holds is done as ever."""
    atexit.register(gc.freeze)


def end_in_a_line() -> None:
    """Let Ctrl-C end a program with one line also where nothing has taken it over yet, as in the
    imports, which take seconds. The exit code stays Python's, that of SIGINT."""
    show_any = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, where: Any) -> None:
        if issubclass(kind, KeyboardInterrupt) and not os.environ.get("D2SEG_TRACEBACK"):
            sys.stderr.write("SIGINT: ended\n")
        else:
            show_any(kind, error, where)

    sys.excepthook = show


def collect_less_often() -> None:
    """Let the imports pass with hardly a search for unreachable cycles, which takes a seventh of
    them: they make a million objects that all stay."""
    if 0 < gc.get_threshold()[0] < _NEW_OBJECTS:
        gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])


def hide_warnings() -> None:
    """Hide what newer versions of torch and setuptools deprecate in detectron2: most of these lines
    come with its imports, above every message of a program's own. And what Pillow warns of."""
    warnings.filterwarnings("ignore", message=r".*torch\.jit\.script.* is deprecated")
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
    warnings.filterwarnings("ignore", message="torch.meshgrid: in an upcoming release")
    # of odd EXIF data and large pictures, without their names: what counts is an error of ours
    warnings.filterwarnings("ignore", module=r"PIL\.")


def ask_for_huge_pages() -> None:
    """Tensors on a CPU in pages of 2 MiB instead of 4 KiB; torch reads the variable at its first
    allocation."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def keep_freed_memory() -> None:
    """Let the C library (glibc) take all blocks from its heap, and give freed ones to the next
    tensor instead of back to the system, 1 GiB at the end of the heap at most.

    A map of the system's own for each large block, as it has them otherwise and above 32 MiB
    always, is cleared anew at each use.
    """
    tuned = any(name.startswith("MALLOC_") for name in os.environ) or (
        "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    )
    if tuned or platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, KEPT_AT_MOST)
