"""What the C library does with memory that is freed."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of malloc.h
TOP_PAD = 64 << 20


def keep_freed_memory() -> bool:
    """Tell glibc to keep large freed blocks for the next request; for processes of our own (steps, commands).

    By default it gives them back to the kernel, and every training step, every clip that is encoded, waits for the same
    pages anew: up to a sixth of the time on a virtual machine (docs/performance.md). A training then takes up to 3%
    more memory (docs/plan.md).

    Returns:
        Whether it could be said: False with another C library, which is left as it is.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    # older ones take no more than 32 MiB as the first
    threshold = any(mallopt(M_MMAP_THRESHOLD, size) == 1 for size in (1 << 30, 32 << 20))
    others = [mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1), mallopt(M_TOP_PAD, TOP_PAD)]
    return threshold and others == [1, 1]
