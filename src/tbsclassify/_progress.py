"""How far long work has come: a line to watch, or a few to read later."""

import shutil
import sys
import threading
import time
from datetime import timedelta
from multiprocessing import parent_process
from typing import Any, Self

# About so many lines go to a file or a pipe.
_N_LINES = 20
# Seconds between two looks of a line that is watched.
_REFRESH = 0.1


class Progress:
    """Shows on stderr how much is done, and the time that is left.

    In a terminal or a notebook, one line is written again and again. Anywhere else
    there are some twenty plain lines: in a file or a pipe, and in processes and
    threads that work at the same time as others and would write over each other.

    Parameters
    ----------
    total, before : int
        Number of steps, and how many of them were done before.
    shown : bool
        Whether anything is shown.
    """

    def __init__(self, total: int, before: int = 0, *, shown: bool):
        self._total, self._before, self._shown = total, before, shown
        self._is_watched = shown and _is_watched()
        self._due: float = 0 if self._is_watched else before + 1
        self._text = ""

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        return self

    def show(self, done: int, text: str) -> None:
        """Say how many steps are done, also in words."""
        if not self._shown:
            return
        self._text, now = text, time.monotonic()
        place = now if self._is_watched else done
        if place < self._due or done >= self._total:
            return
        step = _REFRESH if self._is_watched else max(1, self._total / _N_LINES)
        self._due = place + step
        if done > self._before:
            seconds = (now - self._began) / (done - self._before)
            text += f", {_in_words(seconds * (self._total - done))} left"
        self._write(text, end="" if self._is_watched else "\n")

    def end_line(self) -> None:
        """End the line that is watched, before something else is written."""
        if self._is_watched and self._text:
            self._write("", end="\n")

    def __exit__(self, *error: Any) -> None:
        if self._text:
            seconds = time.monotonic() - self._began
            self._write(f"{self._text}, {_in_words(seconds)} taken", end="\n")

    def _write(self, line: str, end: str) -> None:
        if self._is_watched:
            # A line that is wrapped could not be written over.
            width = shutil.get_terminal_size().columns - 1
            line = f"\r{line[:width]:<{width}}"
        # One write, so that lines of several processes stay whole.
        print(line + end, end="", file=sys.stderr, flush=True)


def _in_words(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _is_watched() -> bool:
    """Tell whether stderr is a terminal or a notebook that nobody else writes to."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or parent_process() is not None or sys.stderr is None:
        return False
    return type(sys.stderr).__module__.startswith("ipykernel.") or sys.stderr.isatty()
