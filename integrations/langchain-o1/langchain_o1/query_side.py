"""Queries to their encoding, by the way that suits their thinker. Knows the engine; knows nothing of LangChain.

The model's own thoughts are gathered into batches with those of other callers. Another thinker is asked first, in the
caller's own thread or task: it waits for a network, which must not hold up others, and callbacks find their run there.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Protocol, runtime_checkable

from o1_retriever import O1Embedder, ThinkingConfig
from o1_retriever.errors import TransientThinkerError
from o1_retriever.exploration import StreamingThinker
from o1_retriever.metering import count
from o1_retriever.micro_batching import shared_batcher
from o1_retriever.query_encoding import QueryEncoding
from o1_retriever.thinkers import Thinker

Outcome = list[list[str]] | TransientThinkerError


@runtime_checkable
class AsyncThinker(Thinker, Protocol):
    """A thinker that can also be awaited."""

    async def athink(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """As `think`."""


class AnsweredThinker:
    """A thinker that was asked before: gives its answer, or fails as it failed.

    The embedder then does what it always does with thoughts and with failures, in one place.
    """

    def __init__(self, thinker: Thinker, outcome: Outcome) -> None:
        self.fingerprint = thinker.fingerprint
        self._outcome = outcome

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """The thoughts that were written.

        Raises:
            TransientThinkerError: the thinker was unavailable.
        """
        if isinstance(self._outcome, TransientThinkerError):
            raise self._outcome
        return self._outcome


def encode(embedder: O1Embedder, queries: list[str], thinking: ThinkingConfig) -> QueryEncoding:
    """Encodes queries, waited for in this thread.

    Args:
        embedder: with or without a thinker of its own.
        queries: B checked texts.
        thinking: how to think about them.

    Raises:
        ThinkerError: the thinker failed for good. Where it is only unavailable, the queries are embedded alone.
    """
    if embedder.thinker is None and len(queries) == 1:
        return shared_batcher(embedder).encode_query(queries[0], thinking=thinking)
    if embedder.thinker is not None and thinking.num_thoughts:
        embedder = _answered(embedder, embedder.thinker, _ask(embedder.thinker, queries, thinking.num_thoughts))
    return _encode_here(embedder, queries, thinking)


async def aencode(embedder: O1Embedder, query: str, thinking: ThinkingConfig) -> QueryEncoding:
    """As `encode` for one query, and leaves the event loop free."""
    if embedder.thinker is None:
        return await shared_batcher(embedder).aencode_query(query, thinking=thinking)
    if thinking.num_thoughts:
        outcome = await _aask(embedder.thinker, [query], thinking.num_thoughts)
        embedder = _answered(embedder, embedder.thinker, outcome)
    return await asyncio.to_thread(_encode_here, embedder, [query], thinking)


def _encode_here(embedder: O1Embedder, queries: list[str], thinking: ThinkingConfig) -> QueryEncoding:
    return embedder.encode_query(queries, thinking=thinking, return_thoughts=True)


def _answered(embedder: O1Embedder, thinker: Thinker, outcome: Outcome) -> O1Embedder:
    """The same embedder, weights and counters shared, whose thinker has answered already."""
    answered = copy.copy(embedder)
    answered.thinker = AnsweredThinker(thinker, outcome)
    return answered


def _ask(thinker: Thinker, queries: list[str], num_thoughts: int) -> Outcome:
    """Streams where the thinker does, because a stream says what each query cost."""
    try:
        if not isinstance(thinker, StreamingThinker):
            return thinker.think(queries, num_thoughts)
        thoughts: list[list[str]] = [[] for _ in queries]
        for exploration in thinker.iter_think(queries, num_thoughts):
            count(exploration.usage)
            thoughts[exploration.index] = exploration.texts
        return thoughts
    except TransientThinkerError as error:
        return error


async def _aask(thinker: Thinker, queries: list[str], num_thoughts: int) -> Outcome:
    """Awaits a thinker that can be awaited; others wait in a thread that sees the caller's context."""
    if not isinstance(thinker, AsyncThinker) or isinstance(thinker, StreamingThinker):
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(_threads(), context.run, _ask, thinker, queries, num_thoughts)
    try:
        return await thinker.athink(queries, num_thoughts)
    except TransientThinkerError as error:
        return error


@cache
def _threads() -> ThreadPoolExecutor:
    """For thinkers that cannot be awaited. The event loop's own threads are few, and needed for computing."""
    return ThreadPoolExecutor(64, thread_name_prefix="o1-thinker")


if hasattr(os, "register_at_fork"):  # none of the threads lives in a forked child
    os.register_at_fork(after_in_child=_threads.cache_clear)
