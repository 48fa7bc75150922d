"""Keep freed memory for the next allocation, where networks run on a CPU and where images are decoded."""

from __future__ import annotations

import ctypes
import os

# names and numbers of glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
KEPT = 2**31 - 2**12  # bytes; about the most that a C int holds
KEPT_BY_WORKER = 2**28  # there may be many of them, and 12 megapixels take 36 MB


def keep_freed_memory(kept: int = KEPT) -> None:
    """Make this process keep the memory that it frees, up to this number of bytes, and use it again.

    By default glibc maps fresh memory for every large array and unmaps it after use, so that the system clears each
    page of each activation again. For Swin-B this takes as long as the arithmetic (`scripts/bench.py freed-memory`). In
    return peak memory grows, there from 2.3 to 2.9 GB, and does not fall between two passes. Nothing is changed where
    the C library is not glibc, or its variables (`MALLOC_...`, `GLIBC_TUNABLES`) are set.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc; on Windows there is not even such a library
        return
    set_option(M_MMAP_MAX, 0)
    set_option(M_TRIM_THRESHOLD, kept)
