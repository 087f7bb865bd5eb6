"""The query side of an `O1Embedding`: think, embed, remember, and tell what happened."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from llama_index.core.base.embeddings.base import Embedding
from llama_index.embeddings.o1.events import O1QueryEvent, tell
from llama_index.embeddings.o1.vector_cache import Entry, VectorCache, key_of

from o1_retriever import O1Embedder, QueryEncoding, ThinkingConfig
from o1_retriever.metering import metered
from o1_retriever.prompts import check_texts
from o1_retriever.serving import aencode, encode
from o1_retriever.usage import Usage


@dataclass(frozen=True)
class QueryEmbedding:
    """A query's vector and the thoughts behind it.

    Attributes:
        query: the query's text.
        embedding: its vector, of unit length.
        thoughts: the thoughts that went into it; empty for a query embedded alone.
        thought_embeddings: the vectors before pooling: of query + thought, one per thought; of a query alone, one.
        degraded: the thinker was unavailable, and the query was embedded without thoughts.
        cached: it comes from `embeddings_cache`.
    """

    query: str
    embedding: Embedding
    thoughts: list[str]
    thought_embeddings: list[Embedding] = field(default_factory=list)
    degraded: bool = False
    cached: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class QuerySide:
    """One way to embed queries.

    Attributes:
        embedder: thinks by itself, or by another thinker.
        thinking: number of thoughts and sampling.
        cache: vectors of earlier queries.
    """

    embedder: O1Embedder
    thinking: ThinkingConfig
    cache: VectorCache | None

    def embed(self, query: str) -> QueryEmbedding:
        """One query; those of several threads at a time think together."""
        check_texts([query], "query")
        start, key = time.perf_counter(), self._key(query)
        with metered() as meter:
            found = _recalled(query, self.cache.recall(key) if self.cache else None)
            if found is None:
                (found,) = _rows([query], encode(self.embedder, [query], self.thinking))
                if self.cache and not found.degraded:
                    self.cache.remember(key, _entry(found))
        _report([found], time.perf_counter() - start, meter.usage)
        return found

    async def aembed(self, query: str) -> QueryEmbedding:
        """As `embed`; the event loop stays free."""
        check_texts([query], "query")
        start, key = time.perf_counter(), self._key(query)
        with metered() as meter:
            found = _recalled(query, await self.cache.arecall(key) if self.cache else None)
            if found is None:
                (found,) = _rows([query], await aencode(self.embedder, query, self.thinking))
                if self.cache and not found.degraded:
                    await self.cache.aremember(key, _entry(found))
        _report([found], time.perf_counter() - start, meter.usage)
        return found

    def embed_all(self, queries: Sequence[str]) -> list[QueryEmbedding]:
        """Several queries at once: the same thoughts as one by one, in less time. Reads and fills no cache."""
        start = time.perf_counter()
        with metered() as meter:
            found = _rows(queries, encode(self.embedder, queries, self.thinking))
        _report(found, time.perf_counter() - start, meter.usage)
        return found

    def _key(self, query: str) -> str:
        return key_of("query", self.embedder.query_fingerprint(thinking=self.thinking), query) if self.cache else ""


def _rows(queries: Sequence[str], encoding: QueryEncoding) -> list[QueryEmbedding]:
    parts = (encoding.vectors, encoding.thoughts, encoding.thought_vectors, encoding.degraded)
    return [
        QueryEmbedding(query, vector.tolist(), thoughts, thought_vectors.tolist(), degraded)
        for query, vector, thoughts, thought_vectors, degraded in zip(queries, *parts, strict=True)
    ]


def _entry(found: QueryEmbedding) -> Entry:
    """Lists, texts and numbers: what every key-value store can hold."""
    return {
        "embedding": list(found.embedding),  # copies: a caller may change what it was given
        "thoughts": list(found.thoughts),
        "thought_embeddings": [list(vector) for vector in found.thought_embeddings],
    }


def _recalled(query: str, entry: Entry | None) -> QueryEmbedding | None:
    if entry is None:
        return None
    vectors = [list(vector) for vector in entry["thought_embeddings"]]
    return QueryEmbedding(query, list(entry["embedding"]), list(entry["thoughts"]), vectors, cached=True)


def _report(found: Sequence[QueryEmbedding], seconds: float, usage: Usage) -> None:
    """One event per query."""
    for position, row in enumerate(found):
        tell(
            O1QueryEvent(
                query=row.query,
                thoughts=row.thoughts,
                seconds=seconds / len(found),
                degraded=row.degraded,
                cached=row.cached,
                usage=usage if usage != Usage() and position == 0 else None,
            )
        )
