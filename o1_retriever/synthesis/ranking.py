"""Where the positives of a text stand in a corpus, and which other passages stand nearest: one pass, bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]


TIE = 1e-6
"""Scores nearer than this are equal: a copy of a positive differs from it by rounding."""


@dataclass(frozen=True)
class Ranking:
    """One text's search, seen from its positives.

    Attributes:
        ranks: (P,) of each positive among the passages that are not positives; 1 is best. Ties count for the positive.
        scores: (P,) of the positives.
        negatives: (n,) rows of the best other passages, best first.
        negative_scores: (n,) theirs.
    """

    ranks: Rows
    scores: Floats
    negatives: Rows
    negative_scores: Floats

    def reciprocal_rank(self) -> float:
        """Mean over the positives of 1 / rank: 1 where nothing stands above any of them."""
        return float((1.0 / self.ranks).mean())

    def margin(self, hardest: int) -> float:
        """Mean score of the positives over the mean of the `hardest` best others."""
        others = self.negative_scores[:hardest]
        return float(self.scores.mean()) - (float(others.mean()) if len(others) else 0.0)


def rank_positives(
    blocks: Iterable[tuple[int, Floats]], positives: Sequence[Sequence[int]], scores: Sequence[Floats], depth: int
) -> list[Ranking]:
    """Rankings of T texts from blocks of their scores.

    Args:
        blocks: (first row, (T, n) scores) covering the corpus; only one is held at a time.
        positives: T lists of rows.
        scores: T arrays with the scores of these rows.
        depth: how many other passages to keep for each text.
    """
    count = len(positives)
    above = [np.zeros(len(rows), dtype=np.int64) for rows in positives]
    best_rows = [np.empty(0, dtype=np.int64) for _ in range(count)]
    best_scores = [np.empty(0, dtype=np.float32) for _ in range(count)]
    for start, block in blocks:
        for text in range(count):
            row = _without(block[text], [p - start for p in positives[text]])
            above[text] += np.array([(row > score + TIE).sum() for score in scores[text]], dtype=np.int64)
            found = _top(row, depth)
            merged_rows = np.concatenate([best_rows[text], found + start])
            merged = np.concatenate([best_scores[text], row[found]])
            order = np.argsort(-merged, kind="stable")[:depth]
            best_rows[text], best_scores[text] = merged_rows[order], merged[order]
    return [Ranking(above[t] + 1, scores[t], best_rows[t], best_scores[t]) for t in range(count)]


def _without(scores: Floats, rows: Sequence[int]) -> Floats:
    """The scores with those of the positives set so low that they are never seen."""
    inside = [row for row in rows if 0 <= row < len(scores)]
    if not inside:
        return scores
    masked = scores.copy()
    masked[inside] = -np.inf
    return masked


def _top(scores: Floats, depth: int) -> Rows:
    """Rows of the `depth` best scores, best first, ties in order; masked ones are left out."""
    if depth < len(scores):
        threshold = np.partition(scores, len(scores) - depth)[len(scores) - depth]
        chosen = np.flatnonzero(scores >= threshold)
    else:
        chosen = np.arange(len(scores))
    chosen = chosen[np.isfinite(scores[chosen])]
    return chosen[np.argsort(-scores[chosen], kind="stable")[:depth]]
