"""How the process holds freed memory: a run or a training on a CPU allocates the same maps again with every batch."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of the GNU C library
TRIM = 256 * 2**20
"""Free bytes at the top of the heap that are kept."""
MMAP = 32 * 2**20
"""Largest block that comes from the heap; glibc takes no larger value."""


def keep_freed_memory() -> bool:
    """Keep freed blocks instead of giving them back to the system, which costs a page fault a page with every batch.

    A third of the time of small networks on a CPU goes into these faults, of trainings 2 to 16 %. It is a setting of
    the whole process, so only commands make it.

    Returns:
        Whether the C library has such a setting (glibc has, others are left alone).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([mallopt(M_TRIM_THRESHOLD, TRIM), mallopt(M_MMAP_THRESHOLD, MMAP)])
