"""How this process gets its memory (Linux). Fresh memory is handed out by the system page by page,
cleared, at the first touch; for maps of many MiB that costs more than many a computation on them.

Variables that a user has set are left alone.
"""

import ctypes
import os
import platform

# numbers of <malloc.h>
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
LARGEST_KEPT_BLOCK = 32 << 20  # bytes; glibc takes no more
KEPT_AT_MOST = 1 << 30  # bytes, free at the end of the heap


def ask_for_huge_pages() -> None:
    """Tensors on a CPU in pages of 2 MiB instead of 4 KiB; torch reads the variable at its first
    allocation."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def keep_freed_memory() -> None:
    """Let the C library (glibc) give blocks of up to 32 MiB to the next tensor instead of back to
    the system, 1 GiB of them at most."""
    tuned = any(name.startswith("MALLOC_") for name in os.environ) or (
        "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    )
    if tuned or platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BLOCK)
    mallopt(_M_TRIM_THRESHOLD, KEPT_AT_MOST)
