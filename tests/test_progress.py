"""How far long work has come, as a terminal, a notebook and a file see it."""

import io
import itertools
import re
import sys
import threading
from types import SimpleNamespace

import pytest
from joblib import Parallel, delayed

from tbsclassify import _progress
from tbsclassify._progress import Progress


class Terminal(io.StringIO):
    """Stands for a terminal."""

    def isatty(self):
        return True


class OutStream(io.StringIO):
    """Stands for what a notebook has in the place of stderr."""


OutStream.__module__ = "ipykernel.iostream"


def watch(stream, monkeypatch, total, *, steps=None, **options):
    """Return what a stream gets of some work."""
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress(total, **{"shown": True} | options) as progress:
        for done in range(options.get("before", 0), steps or total):
            progress.show(done + 1, f"{done + 1}/{total} steps")
    return stream.getvalue()


def tick(monkeypatch, times):
    """Let a clock show these times, one after the other."""
    monotonic = iter(times).__next__
    monkeypatch.setattr(_progress, "time", SimpleNamespace(monotonic=monotonic))


@pytest.mark.parametrize("total", [1, 2, 19, 20, 21, 50, 200, 999])
def test_a_file_gets_some_twenty_plain_lines_and_the_last(total, monkeypatch):
    text = watch(io.StringIO(), monkeypatch, total)
    assert re.fullmatch(r"(\d+/\d+ steps, \d:\d\d:\d\d (left|taken)\n)+", text)
    assert min(total, 10) <= len(text.splitlines()) <= 21
    assert re.search(rf"^{total}/{total} steps, 0:00:\d\d taken\n\Z", text, re.M)


@pytest.mark.parametrize("stream", [Terminal, OutStream])
def test_a_terminal_and_a_notebook_have_one_line_that_is_written_again(
    stream, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "60")
    tick(monkeypatch, range(1000))
    text = watch(stream(), monkeypatch, 50)
    assert text.count("\n") == 1
    looks = text.removesuffix("\n").split("\r")[1:]
    assert {len(look) for look in looks} == {59}  # nothing of one before is left
    assert len(looks) == 50
    assert looks[9].rstrip() == "10/50 steps, 0:00:40 left"
    assert looks[-1].rstrip() == "50/50 steps, 0:00:51 taken"


def test_a_terminal_is_not_kept_busy_by_steps_of_no_time(monkeypatch):
    tick(monkeypatch, itertools.repeat(5.0))
    assert watch(Terminal(), monkeypatch, 1000).count("\r") == 2


def test_a_line_is_cut_where_a_narrow_terminal_would_wrap_it(monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    text = watch(Terminal(), monkeypatch, 2)
    assert {len(look) for look in text.removesuffix("\n").split("\r")[1:]} == {11}


def test_what_was_done_before_took_no_time(monkeypatch):
    tick(monkeypatch, range(1000))
    lines = watch(io.StringIO(), monkeypatch, 10, before=6).splitlines()
    assert lines[0] == "7/10 steps, 0:00:03 left"


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_work_that_ends_early_says_how_far_it_came(stream, monkeypatch):
    text = watch(stream(), monkeypatch, 100, steps=33)
    assert re.search(r"33/100 steps, 0:00:\d\d taken *\n\Z", text)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_work_that_never_begins_or_is_not_to_be_shown_says_nothing(stream, monkeypatch):
    assert watch(stream(), monkeypatch, 5, before=5) == ""
    assert watch(stream(), monkeypatch, 5, shown=False) == ""


def test_a_program_without_stderr_can_work(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", None)
    with Progress(2, shown=True) as progress:
        progress.show(1, "1/2 steps")


def test_threads_at_the_same_time_write_plain_lines(monkeypatch):
    stream = Terminal()
    threads = [
        threading.Thread(target=watch, args=(stream, monkeypatch, 3)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "\r" not in stream.getvalue()
    assert stream.getvalue().count("3/3 steps") == 2


def watch_in_worker():
    """Return what a terminal sees of a worker, whose stderr is that of its parent."""
    before, sys.stderr = sys.stderr, Terminal()
    try:
        with Progress(3, shown=True) as progress:
            progress.show(1, "1/3 steps")
        return sys.stderr.getvalue()
    finally:
        sys.stderr = before


def test_processes_at_the_same_time_write_plain_lines():
    texts = Parallel(n_jobs=2)(delayed(watch_in_worker)() for _ in range(2))
    assert all(text and "\r" not in text for text in texts)
