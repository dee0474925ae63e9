import platform

import pytest
import torch

from tbsclassify._heap import reused_memory

resource = pytest.importorskip("resource", reason="needs POSIX")


def page_faults(n_times):
    """Count pages of memory asked of the system in filling 64 MiB again and again."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n_times):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_is_asked_for_once_inside_the_block_and_returned_after_it():
    with reused_memory():
        page_faults(1)
        inside = page_faults(10)
    outside = page_faults(10)
    assert inside < outside / 10
