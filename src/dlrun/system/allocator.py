"""The C library's memory allocator, told that what is freed is needed again at the next step.

By default it gives large blocks back to the system as soon as they are free, and the system has to clear their
pages anew at each step.
"""

from __future__ import annotations

import ctypes
import os

# Of glibc's malloc.h; other C libraries have no mallopt, or another allocator takes its place.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST = 2**30  # bytes of a block that is kept
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Let this process keep what it frees, from now on.

    Who has set the allocator in the environment is obeyed.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ)
    if os.name != "posix" or chosen or "GLIBC_TUNABLES" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _NEVER)
