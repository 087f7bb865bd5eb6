"""Threads for work that would block an event loop: every kind of work has its own, so none waits behind another.

The event loop's own threads are few and everybody's: a corpus that is embedded in them would keep queries waiting. The
threads here are bounded, start when they are needed and serve the whole process, whatever loop asks; a forked child
begins with none.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class WorkerThreads:
    """The threads of one kind of work.

    Attributes:
        name: of the threads.
        limit: of them at most; further work waits its turn.
    """

    name: str
    limit: int

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `asyncio.to_thread`, in one of these threads; what waits its turn is dropped when it is cancelled."""
        context = contextvars.copy_context()
        call = _executor(self).submit(lambda: context.run(work, *args, **kwargs))
        return await asyncio.wrap_future(call)


TEXTS = WorkerThreads("o1-texts", 2)
"""Embedding passages: one batch computes while the next is read; more would only compete for the processor."""
QUERIES = WorkerThreads("o1-queries", 4)
"""Getting ready for queries: loading the model."""
THINKERS = WorkerThreads("o1-thinkers", 64)
"""Asking thinkers that cannot be awaited: they mostly wait themselves."""


@cache
def _executor(threads: WorkerThreads) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads.limit, thread_name_prefix=threads.name)


if hasattr(os, "register_at_fork"):  # none of the threads lives in a forked child
    os.register_at_fork(after_in_child=_executor.cache_clear)
