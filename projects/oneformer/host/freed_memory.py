"""What a process does with memory that it frees: glibc gives much of it back to the system."""

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of its malloc.h
_LARGE = 32 << 20  # bytes, the most that glibc lets be kept


def keep_freed_memory() -> bool:
    """Keep blocks that are freed for the next ones, in this process and those that it forks.

    The system clears each page of a block before a process gets it again, and a training step
    frees and takes gigabytes. glibc gives back what is free at the end of the heap; this ends. It
    still gives back each block of over 32 MiB, so a process holds little more than before.

    Returns:
        Whether glibc was told. It is not where there is another C library, or where variables of
        the environment already say what it should do (``MALLOC_..._``, ``GLIBC_TUNABLES``).
    """
    told = [name for name in os.environ if name.startswith('MALLOC_') and name.endswith('_')]
    if told or 'glibc.malloc' in os.environ.get('GLIBC_TUNABLES', ''):
        return False
    if platform.libc_ver()[0] != 'glibc':
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _LARGE) and mallopt(_TRIM_THRESHOLD, -1))
