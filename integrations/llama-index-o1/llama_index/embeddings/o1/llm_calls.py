"""Calls to a language model side by side: in threads, or in the event loop that asks. Knows nothing of thoughts."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from o1_retriever.errors import TransientThinkerError
from o1_retriever.llm import together

T = TypeVar("T")


def in_threads(works: Sequence[Callable[[], T]], limit: int, timeout_s: float) -> list[T]:
    """Results of the works, in order; the first error is raised and those that wait are left out.

    Each work sees a copy of the caller's context, so that traces and callbacks know what they belong to. A call that
    is running cannot be stopped: after an error or a timeout it goes on in its thread, and nobody waits for it.

    Args:
        works: the calls.
        limit: of them at work at the same time.
        timeout_s: seconds for all of them together.

    Raises:
        TransientThinkerError: they took longer.
    """
    if not works:
        return []
    executor = ThreadPoolExecutor(min(limit, len(works)), thread_name_prefix="o1-thinker")
    try:
        futures = [executor.submit(contextvars.copy_context().run, work) for work in works]
        done, late = wait(futures, timeout_s, FIRST_EXCEPTION)
        for future in futures:
            if future in done:
                future.result()  # raises its error
        if late:
            raise _too_late(timeout_s)
        return [future.result() for future in futures]
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


async def in_this_loop(works: Sequence[Callable[[], Awaitable[T]]], limit: int, timeout_s: float) -> list[T]:
    """As `in_threads`, awaited; an error, a timeout or a cancellation stops the others."""
    slots = asyncio.Semaphore(limit)

    async def run(work: Callable[[], Awaitable[T]]) -> T:
        async with slots:
            return await work()

    try:
        async with asyncio.timeout(timeout_s):
            return await together(run(work) for work in works)
    except TimeoutError as error:
        raise _too_late(timeout_s) from error


def _too_late(timeout_s: float) -> TransientThinkerError:
    return TransientThinkerError(
        f"The language model did not write the thoughts within {timeout_s:g} s: try again later, raise timeout_s, or "
        "lower num_thoughts."
    )
