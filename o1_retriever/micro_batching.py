"""Micro-batches: queries that many threads and tasks ask one at a time meet in one call of the embedder.

Nobody waits for company: a query that comes alone is embedded at once (see `waiting_line.py`). Another thinker than the
model itself is asked first, in the caller's own thread or task: it waits for a network, which must not hold up others,
its failure is that query's alone, and what it costs is counted where the caller counts. Knows callers and event loops;
knows nothing of how a query becomes a vector.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from concurrent.futures import Future
from functools import partial

from o1_retriever.asking import Answer, aanswer_of, answers_of
from o1_retriever.batch_serving import Request
from o1_retriever.config import ThinkingConfig, require_int
from o1_retriever.embedder import O1Embedder
from o1_retriever.errors import InvalidTypeError
from o1_retriever.prompts import check_texts
from o1_retriever.query_encoding import QueryEncoding
from o1_retriever.thinkers import Thinker
from o1_retriever.waiting_line import WaitingLine

MAX_BATCH, MAX_WAITING = 32, 1024


class MicroBatcher:
    """Gathers queries of many threads and tasks into batches for one embedder.

    Queries with equal settings share a batch; the oldest one that waits decides whose turn it is. Each gets the
    thoughts that it would get alone. Wrong input and errors of a thinker are raised before it queues, and an error of a
    batch reaches only those whose own query causes it: embedding that failed is tried again in halves, and no thinker
    is asked again for it.

    Args:
        embedder: does the work; kept alive by this object.
        max_batch: queries of one call of the embedder at most.
        max_waiting: queries that may wait, those at work not counted.

    >>> batcher = MicroBatcher(O1Embedder.from_pretrained())
    >>> batcher.encode_query("Who was the first programmer?").vectors.shape
    (1, 384)
    """

    def __init__(self, embedder: O1Embedder, *, max_batch: int = MAX_BATCH, max_waiting: int = MAX_WAITING) -> None:
        require_int("max_batch", max_batch, 1)
        require_int("max_waiting", max_waiting, 1)
        self._embedder, self._line = embedder, WaitingLine(max_batch, max_waiting)
        weakref.finalize(self, self._line.end)  # a forgotten batcher's thread ends

    def encode_query(self, query: str, *, thinking: ThinkingConfig | None = None) -> QueryEncoding:
        """The vector and the thoughts of one query; blocks the calling thread only.

        Args:
            query: one text.
            thinking: how to think; None takes the checkpoint's default.

        Returns:
            An encoding of one query: B is 1.

        Raises:
            InvalidInputError, ThinkerError: as `O1Embedder.encode_query` does.
            QueueFullError: `max_waiting` queries are waiting already.
            O1Error: the batcher is closed, or was while the query waited.
        """
        settings = self._checked(query, thinking)
        thinker = self._thinker(settings)
        answer = None if thinker is None else answers_of(thinker, [query], settings.num_thoughts)[0]
        future = self._submit(query, settings, answer)
        try:
            return future.result()
        finally:
            future.cancel()  # after Ctrl-C; does nothing to a finished one

    async def aencode_query(self, query: str, *, thinking: ThinkingConfig | None = None) -> QueryEncoding:
        """As `encode_query`, and leaves the event loop free.

        Cancelling it takes a waiting query out of the queue; the result of one that is at work is dropped.
        """
        settings = self._checked(query, thinking)
        thinker = self._thinker(settings)
        answer = None if thinker is None else await aanswer_of(thinker, query, settings.num_thoughts)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[None] = loop.create_future()
        future = self._submit(query, settings, answer)
        future.add_done_callback(partial(_tell, loop, answered))
        try:
            await answered
            return future.result()
        finally:
            future.cancel()

    def close(self) -> None:
        """Fails the queries that wait and returns when the batch at work is done; does nothing the second time."""
        self._line.end()
        self._line.wait()

    def _checked(self, query: str, thinking: ThinkingConfig | None) -> ThinkingConfig:
        """How to think about the query, which is one that can be embedded."""
        if not isinstance(query, str):
            raise InvalidTypeError(f"query is {type(query).__name__}, not a string: pass one query a call.")
        check_texts([query], "query")
        settings = self._embedder.config.thinking if thinking is None else thinking
        if not isinstance(settings, ThinkingConfig):
            raise InvalidTypeError(f"thinking must be a ThinkingConfig, got {type(settings).__name__}: {settings!r}.")
        return settings

    def _thinker(self, thinking: ThinkingConfig) -> Thinker | None:
        """Who is asked before the query queues."""
        return self._embedder.thinker if thinking.num_thoughts else None

    def _submit(self, query: str, thinking: ThinkingConfig, answer: Answer | None) -> Future[QueryEncoding]:
        return self._line.join(Request(query, thinking, self._embedder, answer))


class _SharedBatcher(MicroBatcher):
    """One of several batchers over one line, which lives as long as the embedder."""

    def __init__(self, embedder: O1Embedder, line: WaitingLine) -> None:
        self._embedder, self._line = embedder, line


def shared_batcher(embedder: O1Embedder) -> MicroBatcher:
    """The batcher of an embedder, shared by everybody who asks for it here.

    The objects returned for one embedder feed the same queue and the same thread, which end with the embedder and do
    not keep it in memory. Closing one of them closes the queue for all; the next call begins a new one.
    """
    with _guard:
        line = _lines.get(embedder)
        if line is None or line.closed:
            line = _lines[embedder] = WaitingLine(MAX_BATCH, MAX_WAITING)
            weakref.finalize(embedder, line.end)
    return _SharedBatcher(embedder, line)


def _tell(loop: asyncio.AbstractEventLoop, answered: asyncio.Future[None], future: Future[QueryEncoding]) -> None:
    """Wakes the task that waits for the future, in its own loop."""
    if future.cancelled():
        return  # by that very task
    try:
        loop.call_soon_threadsafe(_wake, answered)
    except RuntimeError:  # asyncio has no narrower error for a loop that was closed in the meantime
        if not loop.is_closed():
            raise


def _wake(answered: asyncio.Future[None]) -> None:
    if not answered.done():  # the task may have been cancelled
        answered.set_result(None)


_guard = threading.Lock()
_lines: weakref.WeakKeyDictionary[O1Embedder, WaitingLine] = weakref.WeakKeyDictionary()


def _new_guard() -> None:
    """In a forked child: nobody would release the guard if another thread held it."""
    global _guard
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):  # where there is forking at all
    os.register_at_fork(after_in_child=_new_guard)
