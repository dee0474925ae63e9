"""Tell a callback's wish to end the training from a real Ctrl-C."""

import dis
import signal
from types import CodeType, TracebackType
from typing import Any


class StopTrainingError(Exception):
    """A callback asked to end the training."""


def is_ctrl_c(error: BaseException) -> bool:
    """Tell a real interrupt from one that code raised to end the training.

    Code that ends the training runs into a ``raise`` statement. Python delivers a
    signal between instructions, or in a call, and never in that one; so the
    instruction that the innermost frame stopped at tells the two apart, and no signal
    handler has to be installed, which would change the process and works in its main
    thread only. A handler in Python, which does raise, is known by its code. An
    interrupt that was caught and raised anew is found in the context of the new one.
    """
    traces = _traces(error)
    frames = [one.tb_frame for one in traces]
    if isinstance(error, KeyboardInterrupt) and traces:
        last = traces[-1]
        instruction = dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]]
        handled = _code_of(signal.getsignal(signal.SIGINT))
        if instruction != "RAISE_VARARGS" or handled in [one.f_code for one in frames]:
            return True
    before = error.__context__
    if before is None:
        return False
    # What was caught outside these frames was over before they were entered.
    caught_here = any(one.tb_frame in frames for one in _traces(before)[:1])
    return caught_here and is_ctrl_c(before)


def _traces(error: BaseException) -> list[TracebackType]:
    """Return the steps of a traceback, the innermost frame last."""
    traces = []
    trace = error.__traceback__
    while trace is not None:
        traces.append(trace)
        trace = trace.tb_next
    return traces


def _code_of(handler: Any) -> CodeType | None:
    """Return the code of a function, method, partial or callable object in Python."""
    handler = getattr(handler, "func", handler)
    handler = getattr(handler, "__func__", handler)
    if not hasattr(handler, "__code__"):
        handler = getattr(type(handler), "__call__", None)  # noqa: B004
    return getattr(handler, "__code__", None)
