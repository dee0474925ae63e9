"""Keep the memory that one training step frees for the next one."""

import ctypes
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
# glibc raises these thresholds as a program frees large blocks, but not after they have
# been set. So they are left where its own tuning would end: 32 MiB, and twice that.
_AFTERWARDS = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}
_NEVER = 2**31 - 1
_LIBC: Any = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
# There is one allocator for the process: the first block changes it, and the last one
# of all threads restores it.
_lock = threading.Lock()
_n_blocks = 0


@contextmanager
def reused_memory() -> Iterator[None]:
    """Let glibc keep what is freed inside the block, and return it after it.

    The feature map of a batch takes tens of megabytes. By default glibc asks the
    operating system for each of them and returns it at once, and the system clears
    every page before it hands it out again. This takes a quarter of the time of a
    training step.

    Blocks may overlap, nested or in threads: memory is returned after the last one.
    The block does nothing with another C library, with the environment variable
    ``TBSCLASSIFY_REUSE_MEMORY=0``, or if the user has tuned the allocator, by any
    variable ``MALLOC_*`` or by ``glibc.malloc`` in ``GLIBC_TUNABLES``.
    """
    if not _may_change_allocator():
        yield
        return
    _enter()
    try:
        yield
    finally:
        _leave()


def _may_change_allocator() -> bool:
    if _LIBC is None or os.environ.get("TBSCLASSIFY_REUSE_MEMORY") == "0":
        return False
    tuned = any(name.startswith("MALLOC_") for name in os.environ)
    return not tuned and "glibc.malloc" not in os.environ.get("GLIBC_TUNABLES", "")


def _enter():
    global _n_blocks
    with _lock:
        _n_blocks += 1
        if _n_blocks == 1:
            # All blocks come from the heap, and its end is never given back.
            _LIBC.mallopt(_MMAP_MAX, 0)
            _LIBC.mallopt(_TRIM_THRESHOLD, _NEVER)


def _leave():
    global _n_blocks
    with _lock:
        _n_blocks -= 1
        if _n_blocks == 0:
            for parameter, value in _AFTERWARDS.items():
                _LIBC.mallopt(parameter, value)
            _LIBC.malloc_trim(0)
