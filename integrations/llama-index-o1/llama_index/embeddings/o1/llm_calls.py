"""Calls to a language model side by side: in threads, or in the event loop that asks. Knows nothing of thoughts.

Calls come in groups, one for each query. A group has a time limit of its own, which begins with the first of its calls:
waiting for others' calls does not count.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Generic, TypeVar

from o1_retriever.errors import TransientThinkerError
from o1_retriever.llm import together

T = TypeVar("T")


def in_threads(
    groups: Sequence[Sequence[Callable[[], T]]], limit: int, timeout_s: float
) -> list[list[T] | TransientThinkerError]:
    """What the calls of each group give, in order, or why a group got nothing for now: the others go on.

    Each call sees a copy of the caller's context, so that traces and callbacks know what they belong to. A call that
    is running cannot be stopped: after an error or a timeout it goes on in its thread and keeps its place there, and
    nobody waits for it.

    Args:
        groups: the calls.
        limit: of them at work at the same time.
        timeout_s: seconds for each group.

    Raises:
        ThinkerError: a call failed for good; the calls that wait are left out.
    """
    calls = sum(map(len, groups))
    if not calls:
        return [[] for _ in groups]
    executor = ThreadPoolExecutor(min(limit, calls), thread_name_prefix="o1-thinker")
    try:
        begun = [_Group(group, executor) for group in groups]
        return [group.outcome(timeout_s) for group in begun]
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


async def in_this_loop(
    groups: Sequence[Sequence[Callable[[], Awaitable[T]]]], limit: int, timeout_s: float
) -> list[list[T]]:
    """As `in_threads`, awaited; an error, a timeout or a cancellation stops all that are left, and is raised."""
    slots = asyncio.Semaphore(limit)
    return await together(_awaited(group, slots, timeout_s) for group in groups)


class _Group(Generic[T]):
    """The calls of one query, submitted to threads that others use too."""

    def __init__(self, calls: Sequence[Callable[[], T]], executor: ThreadPoolExecutor) -> None:
        self._began: float | None = None
        self._futures: list[Future[T]] = [
            executor.submit(contextvars.copy_context().run, partial(self._call, call)) for call in calls
        ]

    def _call(self, call: Callable[[], T]) -> T:
        if self._began is None:
            self._began = time.monotonic()
        return call()

    def outcome(self, timeout_s: float) -> list[T] | TransientThinkerError:
        """Waits for the results.

        Where calls that nobody waits for any more keep all threads, the time begins now, or nothing would bound it.
        """
        now = time.monotonic()
        while True:
            since = now if self._began is None else self._began
            done, late = wait(self._futures, max(0.0, since + timeout_s - time.monotonic()), FIRST_EXCEPTION)
            failure = _failure(done)
            if failure is None and late and self._began not in (None, since):
                continue  # it began while we waited
            if failure is None and late:
                failure = _too_late(timeout_s)
            if failure is None:
                return [future.result() for future in self._futures]
            for future in late:
                future.cancel()
            return failure


def _failure(done: set[Future[T]]) -> TransientThinkerError | None:
    """A failure that may pass; one that does not is raised."""
    errors = [error for future in done if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, TransientThinkerError):
            raise error
    return next((error for error in errors if isinstance(error, TransientThinkerError)), None)


async def _awaited(calls: Sequence[Callable[[], Awaitable[T]]], slots: asyncio.Semaphore, timeout_s: float) -> list[T]:
    try:
        async with asyncio.timeout(None) as clock:

            async def run(call: Callable[[], Awaitable[T]]) -> T:
                async with slots:
                    if clock.when() is None:
                        clock.reschedule(asyncio.get_running_loop().time() + timeout_s)
                    return await call()

            return await together(run(call) for call in calls)
    except TimeoutError as error:
        raise _too_late(timeout_s) from error


def _too_late(timeout_s: float) -> TransientThinkerError:
    return TransientThinkerError(
        f"The language model did not write the thoughts within {timeout_s:g} s: try again later, raise timeout_s, or "
        "lower num_thoughts."
    )
