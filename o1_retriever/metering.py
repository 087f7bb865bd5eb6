"""Counts what one piece of work costs, however deep below a thinker is asked. Knows nothing of thinkers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from o1_retriever.usage import Meter, Usage

_meter: ContextVar[Meter | None] = ContextVar("o1_meter", default=None)


@contextmanager
def metered() -> Iterator[Meter]:
    """A meter of all that is spent inside of the block: in this context, its tasks, and threads that copy it.

    An outer block counts it too.
    """
    meter = Meter(parent=_meter.get())
    token = _meter.set(meter)
    try:
        yield meter
    finally:
        _meter.reset(token)


def count(usage: Usage) -> None:
    """Adds to the meter of the innermost block around the caller, if there is one."""
    if (meter := _meter.get()) is not None:
        meter.add(usage)
