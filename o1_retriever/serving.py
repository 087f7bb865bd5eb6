"""Queries of many callers to their vectors, waited for or awaited: single ones together with those of other callers."""

from __future__ import annotations

from collections.abc import Sequence

from o1_retriever.config import ThinkingConfig
from o1_retriever.embedder import O1Embedder
from o1_retriever.micro_batching import shared_batcher
from o1_retriever.query_encoding import QueryEncoding


def encode(embedder: O1Embedder, queries: Sequence[str], thinking: ThinkingConfig) -> QueryEncoding:
    """Encodes queries, waited for in this thread.

    Args:
        embedder: with or without a thinker of its own.
        queries: B checked texts.
        thinking: how to think about them.

    Raises:
        ThinkerError: the thinker failed for good. A query for which it is only unavailable is embedded alone.
    """
    if len(queries) == 1:
        return shared_batcher(embedder).encode_query(queries[0], thinking=thinking)
    return embedder.encode_query(list(queries), thinking=thinking, return_thoughts=True)


async def aencode(embedder: O1Embedder, query: str, thinking: ThinkingConfig) -> QueryEncoding:
    """As `encode` for one query, and leaves the event loop free."""
    return await shared_batcher(embedder).aencode_query(query, thinking=thinking)
