import platform
import subprocess
import sys

import pytest

# In a process of its own, whose heap no other test has been through: how often the
# system is asked for a page in filling 64 MiB ten times, inside the block, also after
# another one in it, and after it.
COUNT_PAGE_FAULTS = """
import resource
import torch
from tbsclassify.estimators._memory import reused_memory

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with reused_memory():
    with reused_memory():
        page_faults()
    print(page_faults())
print(page_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_is_asked_for_once_inside_the_block_and_returned_after_it():
    command = [sys.executable, "-c", COUNT_PAGE_FAULTS]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    inside, after = map(int, done.stdout.split())
    assert inside < after / 10
