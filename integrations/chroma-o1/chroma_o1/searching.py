"""Finds passages in a collection: by vectors, by words, or by both. Knows Chroma's queries; knows no model.

A hybrid search looks at the best passages of each side, at least `DEPTH` of them, with the exact cosine and the exact
BM25 score of each: a passage that only one side found is measured by the other one too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chroma_o1.connection import Connection
from chroma_o1.filters import Filter
from chroma_o1.lexical_files import Words, best_rows
from chroma_o1.lexical_side import LexicalSide
from chroma_o1.passages import Hit, StoredPassage
from chroma_o1.ranking import Ranking
from chroma_o1.results import cosines, read_hits, read_stored
from o1_retriever.rank_fusion import reciprocal_rank_fusion, weighted_scores

DEPTH = 100
_QUERY_ROWS = 256  # queries sent to Chroma at once
Array = NDArray[np.float32]


class Searcher:
    """Searches one collection.

    Args:
        connection: to the collection.
        lexical: its words.
        page: passages asked for at once.
    """

    def __init__(self, connection: Connection, lexical: LexicalSide, page: int) -> None:
        self._connection, self._lexical, self._page = connection, lexical, page

    def dense(self, vectors: Array, k: int, allowed: Filter) -> list[list[Hit]]:
        """For each of (B, D) vectors the k passages of highest cosine, best first."""
        hits: list[list[Hit]] = []
        for start in range(0, len(vectors), _QUERY_ROWS):
            with self._connection.errors():
                found: Any = self._connection.collection.query(
                    query_embeddings=vectors[start : start + _QUERY_ROWS],
                    n_results=k,
                    include=["documents", "metadatas", "distances"],
                    **allowed.arguments,
                )
            hits.extend(read_hits(found))
        return hits

    def lexical(self, texts: Sequence[str], k: int, allowed: Filter) -> list[list[Hit]]:
        """For each of B texts the k passages of highest BM25 score; those that share no word are not found."""
        words, mask = self._words(allowed)
        ranked = [_best(words, words.scores(text) * mask, k) for text in texts]
        passages = self._passages(i for scores in ranked for i in scores)
        return [[_hit(passages[i], score) for i, score in scores.items() if i in passages] for scores in ranked]

    def hybrid(
        self, vectors: Array, texts: Sequence[str], k: int, allowed: Filter, ranking: Ranking
    ) -> list[list[Hit]]:
        """For each of B vectors, each with its text, the k passages that are best on both sides together."""
        depth = max(DEPTH, 2 * k)
        words, mask = self._words(allowed)
        dense = self.dense(vectors, depth, allowed)
        found = []
        for vector, text, hits in zip(vectors, texts, dense, strict=True):
            scores = words.scores(text) * mask
            lexical = _best(words, scores, depth)
            candidates = {hit.id: hit for hit in hits}
            candidates |= self._measured([i for i in lexical if i not in candidates], vector)
            if ranking.fusion == "scores":
                fused = _by_scores(candidates, words, scores, ranking.weight)
            else:
                fused = reciprocal_rank_fusion([[hit.id for hit in hits], list(lexical)], [1.0, ranking.weight])
            ranked = [dataclasses.replace(candidates[i], score=s) for i, s in fused.items() if i in candidates]
            found.append(ranked[:k])
        return found

    def _words(self, allowed: Filter) -> tuple[Words, Array]:
        """The words, and 1 for each passage that counts."""
        words = self._lexical.words()
        if not allowed:
            return words, np.ones(len(words.ids), dtype=np.float32)
        with self._connection.errors():
            ids = self._connection.collection.get(include=[], **allowed.arguments)["ids"]
        mask = np.zeros(len(words.ids), dtype=np.float32)
        mask[[words.rows[i] for i in ids if i in words.rows]] = 1.0
        return words, mask

    def _measured(self, ids: list[str], vector: Array) -> dict[str, Hit]:
        """Passages with the cosine of their vectors; those that are not there any more are left out."""
        measured: dict[str, Hit] = {}
        for rows in self._rows(ids, ["documents", "metadatas", "embeddings"]):
            values = cosines(vector, np.asarray(rows["embeddings"], dtype=np.float32))
            for passage, value in zip(read_stored(rows), values, strict=True):
                measured[passage.id] = _hit(passage, float(value))
        return measured

    def _passages(self, ids: Iterable[str]) -> dict[str, StoredPassage]:
        pages = self._rows(list(dict.fromkeys(ids)), ["documents", "metadatas"])
        return {passage.id: passage for rows in pages for passage in read_stored(rows)}

    def _rows(self, ids: list[str], include: list[Any]) -> Iterable[Any]:
        for start in range(0, len(ids), self._page):
            with self._connection.errors():
                rows = self._connection.collection.get(ids=ids[start : start + self._page], include=include)
            yield rows


def _best(words: Words, scores: Array, count: int) -> dict[str, float]:
    """id -> score of the best passages, best first."""
    return {words.ids[row]: float(scores[row]) for row in best_rows(scores, count)}


def _by_scores(candidates: dict[str, Hit], words: Words, scores: Array, weight: float) -> dict[str, float]:
    """id -> fused score, best first. The candidates carry their cosines."""
    known = {i: float(scores[words.rows[i]]) for i in candidates if i in words.rows}
    cosine = {i: hit.score for i, hit in candidates.items()}
    return weighted_scores(cosine, known, weight, highest=float(scores.max(initial=0.0)))


def _hit(passage: StoredPassage, score: float) -> Hit:
    return Hit(passage.id, passage.text, passage.title, passage.metadata, score)
