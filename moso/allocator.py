"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of malloc.h
TOP_PAD = 64 << 20


def keep_freed_memory() -> bool:
    """Tell glibc to keep large freed blocks for the next request; for processes of our own (steps, commands).

    By default it gives them back to the kernel, and every training step, every clip that is encoded, waits for the same
    pages anew: up to a fifth of the time on a virtual machine (docs/performance.md). What the process takes at most
    stays the same.

    Returns:
        Whether it could be said: False with another C library, which is left as it is.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, (1 << 31) - 1), (M_TOP_PAD, TOP_PAD))
    return all(mallopt(option, value) == 1 for option, value in settings)
