"""Warnings that point at the user's line."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Packages with code between the user's line and the one that warns.
_BETWEEN = frozenset({"imblearn", "joblib", "sklearn", "skorch", "tbsclassify"})
_held: ContextVar[list[str] | None] = ContextVar("held", default=None)


def warn(message: str) -> None:
    """Warn at the innermost line that is none of the library or of what calls it."""
    held = _held.get()
    if held is not None:
        held.append(message)
        return
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _is_between(frame.f_globals):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, UserWarning, stacklevel=level)


@contextmanager
def held_back() -> Iterator[list[str]]:
    """Collect the messages of a block in place of warning.

    For work in a thread, where no line is the user's: who waits for it warns.
    """
    messages: list[str] = []
    token = _held.set(messages)
    try:
        yield messages
    finally:
        _held.reset(token)


def _is_between(names: dict[str, object]) -> bool:
    return str(names.get("__name__")).partition(".")[0] in _BETWEEN
