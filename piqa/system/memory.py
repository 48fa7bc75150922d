"""Memory that is freed is kept for what comes next, where networks run on a CPU and where images are decoded."""

from __future__ import annotations

import ctypes
import os

# glibc's names and numbers, from malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
KEPT = 2**31 - 2**12  # bytes; the most that a C int holds
KEPT_BY_WORKER = 2**28  # there may be many of them, and 12 megapixels take 36 MB


def keep_freed_memory(kept: int = KEPT) -> None:
    """Makes this process keep the memory that it frees, and use it again.

    By default glibc takes a fresh mapping from the system for every large array and gives it back after, so that the
    system clears each page of each activation anew. For Swin-B that takes as long as the arithmetic, and the more
    images go through at once, the longer for each: `scripts/bench.py freed-memory` measures it. Processes that do so
    side by side also hold each other up. The price: peak memory grows, in that row from 2.3 to 2.9 GB, and does not
    fall between two passes. Where the C library is another, or its own variables (`MALLOC_...`, `GLIBC_TUNABLES`) are
    set, nothing is changed.

    Args:
        kept: Bytes; the system gets back what is freed beyond them.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc; on Windows there is not even such a library
        return
    set_option(M_MMAP_MAX, 0)
    set_option(M_TRIM_THRESHOLD, kept)
