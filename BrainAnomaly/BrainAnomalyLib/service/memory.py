"""How a process that detects keeps its memory: volumes of the same size come and go all the time.

By default the C library gives every freed volume back to the system, which must clear all its pages for the next one;
Dask's workers even give back small pieces. Testing/benchmarks/cohort_throughput.py shows what keeping them is worth.
"""

from __future__ import annotations

import ctypes
import sys

# glibc's malloc.h: the number of each setting.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_NEVER, _PAD = 2**31 - 1, 64 * 2**20


def keep_freed_memory() -> bool:
    """Let this process use freed memory again before it asks for more; its peak stays what it was, but is held.

    Call it before threads are started. Returns whether this system's C library knows how (glibc, so Linux).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    taken = [
        set_option(*each) for each in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, _NEVER), (_TOP_PAD, _PAD))
    ]
    return all(answer == 1 for answer in taken)
