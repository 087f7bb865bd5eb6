"""The systems under evaluation: each indexes a collection and searches it."""

from __future__ import annotations

import time
from typing import Protocol

import numpy as np

from o1_eval.collection import Collection
from o1_retriever.encoders import Array, Encoder
from o1_retriever.lexical import LexicalIndex
from o1_retriever.search import Run, exact_search, to_run
from o1_retriever.vectors import VectorCache

QUERY_BLOCK = 64
"""Queries searched at once: bounds the memory of their scores."""


class System(Protocol):
    """Something that finds passages."""

    index_name: str

    def index(self, collection: Collection) -> float:
        """Makes the passages searchable; returns the seconds it took, in whichever run it was done."""

    def search(self, collection: Collection, k: int) -> tuple[Run, float]:
        """The k best passages of each query, and the seconds from texts to results."""


class Bm25:
    """BM25 as `o1_retriever.lexical` describes it."""

    index_name = "BM25"

    def index(self, collection: Collection) -> float:
        start = time.perf_counter()
        self._index = LexicalIndex(collection.passages)
        return time.perf_counter() - start

    def search(self, collection: Collection, k: int) -> tuple[Run, float]:
        """Passages without a word of the query are left out."""
        start = time.perf_counter()
        scores, indices = self._index.search(collection.queries, k)
        seconds = time.perf_counter() - start
        run = to_run(collection.query_ids, collection.passage_ids, scores, indices)
        return {query: {p: s for p, s in found.items() if s > 0} for query, found in run.items()}, seconds


class Dense:
    """Exact search over the vectors of an encoder.

    Args:
        encoder: makes the vectors.
        passages: cache for passages.
        queries: cache for queries.
    """

    def __init__(self, encoder: Encoder, passages: VectorCache, queries: VectorCache) -> None:
        self.encoder, self.passages, self.queries = encoder, passages, queries
        self.index_name = encoder.name

    def index(self, collection: Collection) -> float:
        encode = self.encoder.encode_passages
        label = f"{self.encoder.name}: passages"
        stored = self.passages.vectors(self.encoder.passage_key, collection.passages, encode, label)
        self._vectors = stored.vectors
        return stored.seconds

    def search(self, collection: Collection, k: int) -> tuple[Run, float]:
        encode = self.encoder.encode_queries
        label = f"{self.encoder.name}: queries"
        stored = self.queries.vectors(self.encoder.query_key, collection.queries, encode, label)
        begin = time.perf_counter()
        run = search_all(collection, stored.vectors, self._vectors, k)
        return run, stored.seconds + time.perf_counter() - begin


def search_all(collection: Collection, queries: Array, passages: Array, k: int) -> Run:
    """The k nearest passages of each query, a bounded number of queries at a time.

    Args:
        collection: names queries and passages.
        queries: (B, D) unit vectors.
        passages: (N, D) unit vectors.
        k: passages per query.
    """
    run: Run = {}
    for start in range(0, len(queries), QUERY_BLOCK):
        scores, indices = exact_search(np.ascontiguousarray(queries[start : start + QUERY_BLOCK]), passages, k)
        run |= to_run(collection.query_ids[start : start + QUERY_BLOCK], collection.passage_ids, scores, indices)
    return run
