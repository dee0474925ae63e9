import os
import platform
import subprocess
import sys
import threading

import pytest

from tbsclassify.estimators import _memory
from tbsclassify.estimators._memory import reused_memory

# In a process of its own, whose heap no other test has been through: how often the
# system is asked for a page in filling 64 MiB ten times, inside the block, also after
# another one in it, and after it.
COUNT_PAGE_FAULTS = """
import resource
import sys
import torch
sys.path.append(sys.argv[1])  # the file alone, without all that its package imports
from _memory import reused_memory

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
    inside, after = count_page_faults({})
    assert inside < after / 10


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_is_not_kept_where_that_is_switched_off():
    inside, _ = count_page_faults({"TBSCLASSIFY_REUSE_MEMORY": "0"})
    assert inside > 10 * 2**26 / 4096 / 2


def count_page_faults(environment):
    folder = os.path.dirname(_memory.__file__)
    command = [sys.executable, "-c", COUNT_PAGE_FAULTS, folder]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    return map(int, done.stdout.split())


class _FakeLibc:
    """Note what is asked of the allocator."""

    def __init__(self):
        self.calls = []

    def mallopt(self, parameter, value):
        self.calls.append((parameter, value))

    def malloc_trim(self, pad):
        self.calls.append("trim")


@pytest.fixture
def libc(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.delenv("TBSCLASSIFY_REUSE_MEMORY", raising=False)
    fake = _FakeLibc()
    monkeypatch.setattr(_memory, "_LIBC", fake)
    return fake


def test_the_last_of_overlapping_threads_puts_the_allocator_back(libc):
    first_is_in, first_may_leave = threading.Event(), threading.Event()

    def first():
        with reused_memory():
            first_is_in.set()
            first_may_leave.wait()

    thread = threading.Thread(target=first)
    thread.start()
    first_is_in.wait()
    with reused_memory():
        first_may_leave.set()
        thread.join()
        assert len(libc.calls) == 2
    assert len(libc.calls) == 6
    assert libc.calls[-1] == "trim"


def test_the_allocator_is_put_back_after_an_error(libc):
    with pytest.raises(RuntimeError), reused_memory():
        raise RuntimeError
    assert libc.calls[-1] == "trim"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "100000"),
        ("MALLOC_MMAP_THRESHOLD_", "100000"),
        ("MALLOC_MMAP_MAX_", "1"),
        ("MALLOC_ARENA_MAX", "2"),
        ("GLIBC_TUNABLES", "glibc.cpu.x=1:glibc.malloc.trim_threshold=128"),
        ("TBSCLASSIFY_REUSE_MEMORY", "0"),
    ],
)
def test_an_allocator_that_the_user_tuned_is_left_alone(name, value, libc, monkeypatch):
    monkeypatch.setenv(name, value)
    with reused_memory():
        pass
    assert libc.calls == []


def test_tunables_of_other_parts_of_glibc_do_not_matter(libc, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2")
    monkeypatch.setenv("TBSCLASSIFY_REUSE_MEMORY", "1")
    with reused_memory():
        pass
    assert libc.calls[-1] == "trim"
