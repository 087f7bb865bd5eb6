"""Queries of many callers to their vectors, each by the way that suits its thinker, waited for or awaited.

The model's own thoughts are gathered into batches with those of other callers. Another thinker is asked first, in the
caller's own thread or task: it waits for a network, which must not hold up others, and tracing finds its run there.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from o1_retriever.asking import Answer, AnsweredThinker, aanswer_of
from o1_retriever.config import ThinkingConfig
from o1_retriever.embedder import O1Embedder
from o1_retriever.micro_batching import shared_batcher
from o1_retriever.query_encoding import QueryEncoding
from o1_retriever.thinkers import Thinker
from o1_retriever.worker_threads import QUERIES


def encode(embedder: O1Embedder, queries: Sequence[str], thinking: ThinkingConfig) -> QueryEncoding:
    """Encodes queries, waited for in this thread.

    Args:
        embedder: with or without a thinker of its own.
        queries: B checked texts.
        thinking: how to think about them.

    Raises:
        ThinkerError: the thinker failed for good. A query for which it is only unavailable is embedded alone.
    """
    if embedder.thinker is None and len(queries) == 1:
        return shared_batcher(embedder).encode_query(queries[0], thinking=thinking)
    return _encode_here(embedder, queries, thinking)


async def aencode(embedder: O1Embedder, query: str, thinking: ThinkingConfig) -> QueryEncoding:
    """As `encode` for one query, and leaves the event loop free."""
    thinker = embedder.thinker
    if thinker is None:
        return await shared_batcher(embedder).aencode_query(query, thinking=thinking)
    if thinking.num_thoughts:
        answer = await aanswer_of(thinker, query, thinking.num_thoughts)
        embedder = _answered(embedder, thinker, answer)
    return await QUERIES.run(_encode_here, embedder, [query], thinking)


def _encode_here(embedder: O1Embedder, queries: Sequence[str], thinking: ThinkingConfig) -> QueryEncoding:
    return embedder.encode_query(list(queries), thinking=thinking, return_thoughts=True)


def _answered(embedder: O1Embedder, thinker: Thinker, answer: Answer) -> O1Embedder:
    """The same embedder, weights and counters shared, whose thinker has answered already."""
    answered = copy.copy(embedder)
    answered.thinker = AnsweredThinker(thinker, [answer])
    return answered
