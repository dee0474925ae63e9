"""Keep the memory that one training step frees for the next one."""

import ctypes
import platform
from contextlib import contextmanager

# Parameters of glibc's mallopt(3), and the values its own tuning ends at.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_DEFAULTS = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}
_NEVER = 2**31 - 1
_LIBC = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
_active = False


@contextmanager
def reused_memory():
    """Let glibc keep what is freed inside the block, and return it after it.

    A feature map of a batch takes tens of megabytes. By default glibc asks the
    operating system for each of them and gives it back at once, and the system
    clears every page before it hands it out again: a quarter of the time of a
    training step. A block inside another one leaves all of it to the outer one. With
    another C library the block does nothing.
    """
    global _active
    if _LIBC is None or _active:
        yield
        return
    _LIBC.mallopt(_MMAP_MAX, 0)
    _LIBC.mallopt(_TRIM_THRESHOLD, _NEVER)
    _active = True
    try:
        yield
    finally:
        _active = False
        for parameter, value in _DEFAULTS.items():
            _LIBC.mallopt(parameter, value)
        _LIBC.malloc_trim(0)
