"""The committee: retrievers that score candidate thoughts against the positives of their query.

Two kinds of score. *Similarity* of the candidate itself to the positives is the paper's (section 3.2). *Retrieval
utility* asks what a thought is for: where the positives stand when query + candidate searches the corpus.
Knows passages by their row in the corpus; knows nothing of files or votes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from o1_retriever.embedder import O1Embedder
from o1_retriever.encoders import Encoder, O1Encoder
from o1_retriever.errors import InvalidInputError
from o1_retriever.fingerprints import digest
from o1_retriever.lexical import DESCRIPTION, LexicalIndex, load_bm25s
from o1_retriever.synthesis.ranking import Floats, Ranking, rank_positives
from o1_retriever.vectors import VectorCache

Positives = Sequence[Sequence[int]]
TEXT_BLOCK = 64
"""Texts searched side by side."""
SCORES_AT_ONCE = 1 << 22
"""Scores held at a time, in numbers: 16 MiB of float32 bound the search whatever the corpus."""


class Member(Protocol):
    """A retriever that judges candidates.

    Attributes:
        name: for reports.
        fingerprint: changes whenever its scores would.
    """

    name: str
    fingerprint: str

    def prepare(self, passages: Sequence[str]) -> None:
        """Makes the corpus searchable, once; what it costs is kept where the member has a cache."""

    def similarity(self, candidates: Sequence[str], positives: Positives) -> list[float]:
        """Mean similarity of each candidate to its positives, in the member's own unit."""

    def rank(
        self, queries: Sequence[str], candidates: Sequence[str | None], positives: Positives, depth: int
    ) -> list[Ranking]:
        """Where the positives stand when each query searches with its candidate; None: with the query alone."""


class LexicalMember:
    """BM25.

    Args:
        query_weight: how often the query is repeated before the candidate (Query2doc, arXiv 2303.07678, takes 5):
            a candidate has several times as many words as a query.
    """

    def __init__(self, query_weight: int = 3) -> None:
        if query_weight < 1:
            raise InvalidInputError(f"query_weight must be at least 1, got {query_weight}.")
        load_bm25s()  # a missing library stops it now, not after the exploration
        self.name, self.query_weight = "BM25", query_weight
        self.fingerprint = digest(DESCRIPTION, query_weight)
        self._passages: Sequence[str] | None = None

    def prepare(self, passages: Sequence[str]) -> None:
        if passages is not self._passages:
            self._index, self._passages = LexicalIndex(passages), passages

    def similarity(self, candidates: Sequence[str], positives: Positives) -> list[float]:
        return [
            float(self._index.scores(text)[list(rows)].mean()) for text, rows in zip(candidates, positives, strict=True)
        ]

    def rank(
        self, queries: Sequence[str], candidates: Sequence[str | None], positives: Positives, depth: int
    ) -> list[Ranking]:
        rankings = []
        for query, candidate, rows in zip(queries, candidates, positives, strict=True):
            scores = self._index.scores(query if candidate is None else self._text(query, candidate))
            [found] = rank_positives([(0, scores[None])], [rows], [scores[list(rows)]], depth)
            rankings.append(_without_strangers(found, len(scores)))
        return rankings

    def _text(self, query: str, candidate: str) -> str:
        return " ".join([query] * self.query_weight + [candidate])


def _without_strangers(found: Ranking, passages: int) -> Ranking:
    """A score of 0 is no shared word: such a positive was not found, such a passage is no near miss."""
    near = found.negative_scores > 0
    ranks = np.where(found.scores > 0, found.ranks, passages)
    return Ranking(ranks, found.scores, found.negatives[near], found.negative_scores[near])


Compose = Callable[[Sequence[str], Sequence[str | None]], Floats]
"""Queries and their candidates to (T, D) unit vectors."""


class DenseMember:
    """Any encoder, by cosine similarity.

    Args:
        encoder: makes unit vectors.
        cache: keeps those of the passages.
        compose: vectors of queries with their candidates; None joins the two texts by a space.
    """

    def __init__(self, encoder: Encoder, cache: VectorCache, compose: Compose | None = None) -> None:
        self.encoder, self.cache, self.name = encoder, cache, encoder.name
        self._compose = compose or self._joined
        self.fingerprint = digest(encoder.passage_key, encoder.query_key)
        self._passages: Sequence[str] | None = None

    def prepare(self, passages: Sequence[str]) -> None:
        if passages is self._passages:
            return
        label = f"{self.name}: passages"
        stored = self.cache.vectors(self.encoder.passage_key, passages, self.encoder.encode_passages, label)
        self._blocks, self._passages = stored.blocks, passages

    def similarity(self, candidates: Sequence[str], positives: Positives) -> list[float]:
        vectors = self.encoder.encode_passages(list(candidates))
        return [float(scores.mean()) for scores in self._against(vectors, positives)]

    def rank(
        self, queries: Sequence[str], candidates: Sequence[str | None], positives: Positives, depth: int
    ) -> list[Ranking]:
        vectors = self._compose(queries, candidates)
        rankings = []
        for start in range(0, len(vectors), TEXT_BLOCK):
            part, rows = vectors[start : start + TEXT_BLOCK], positives[start : start + TEXT_BLOCK]
            rankings += rank_positives(self._scores(part), rows, self._against(part, rows), depth)
        return rankings

    def _joined(self, queries: Sequence[str], candidates: Sequence[str | None]) -> Floats:
        texts = [q if c is None else f"{q} {c}" for q, c in zip(queries, candidates, strict=True)]
        return self.encoder.encode_queries(texts)

    def _against(self, vectors: Floats, positives: Positives) -> list[Floats]:
        """Scores of each text for its own positives."""
        return [
            np.asarray(self._gather(rows) @ vector, dtype=np.float32)
            for vector, rows in zip(vectors, positives, strict=True)
        ]

    def _gather(self, rows: Sequence[int]) -> Floats:
        chunk = self._blocks.chunk
        return np.stack([self._blocks[row // chunk][row % chunk] for row in rows])

    def _scores(self, vectors: Floats) -> Iterator[tuple[int, Floats]]:
        """(first row, (T, n) scores) over the corpus, a bounded number at a time."""
        per_yield = max(1, SCORES_AT_ONCE // max(1, len(vectors)) // self._blocks.chunk)
        start = 0
        for first in range(0, len(self._blocks), per_yield):
            # block by block: passages' vectors stay on disk but for one block
            scores = [vectors @ self._blocks[i].T for i in range(first, min(first + per_yield, len(self._blocks)))]
            joined = np.concatenate(scores, axis=1) if len(scores) > 1 else scores[0]
            yield start, np.asarray(joined, dtype=np.float32)
            start += joined.shape[1]


def o1_member(embedder: O1Embedder, name: str, cache: VectorCache) -> DenseMember:
    """An O1 Embedder on the committee: the candidate is the query's thought."""

    def compose(queries: Sequence[str], candidates: Sequence[str | None]) -> Floats:
        thoughts: list[list[str]] = [[] if candidate is None else [candidate] for candidate in candidates]
        return embedder.encode_query(list(queries), thoughts=thoughts)

    return DenseMember(O1Encoder(embedder, name, 0), cache, compose)
