"""Counts what the thinkers asked in one context cost, wherever in it they are asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from o1_retriever.usage import Meter, Usage

_METER: ContextVar[Meter | None] = ContextVar("o1_thinkers_cost", default=None)


@contextmanager
def metered() -> Iterator[Meter]:
    """A meter of what is counted inside, also in threads that run in a copy of this context."""
    meter = Meter()
    token = _METER.set(meter)
    try:
        yield meter
    finally:
        _METER.reset(token)


def count(usage: Usage) -> None:
    """Adds to the meter of this context, where there is one."""
    meter = _METER.get()
    if meter is not None:
        meter.add(usage)
