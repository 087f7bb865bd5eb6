"""Exact search over unit vectors, and runs. For evaluation and for stores' recall; knows numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from o1_retriever.errors import InvalidInputError

Run = dict[str, dict[str, float]]
"""query id -> passage id -> score; TREC's sense of a run."""


def exact_search(
    queries: NDArray[np.float32], passages: NDArray[np.float32], k: int, block: int = 65536
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k passages of highest cosine similarity for each query, best first; ties go to the lower index.

    Args:
        queries: (B, D) unit vectors.
        passages: (N, D) unit vectors; a memory map works.
        k: results per query, cut to N.
        block: passages scored at once; bounds the memory.

    Returns:
        scores (B, k) and passage indices (B, k).

    Raises:
        InvalidInputError: k is below 1 or the dimensions differ.
    """
    if k < 1:
        raise InvalidInputError(f"k must be at least 1, got {k}.")
    if queries.ndim != 2 or passages.ndim != 2 or queries.shape[1] != passages.shape[1]:
        raise InvalidInputError(f"expected (B, D) and (N, D), got {queries.shape} and {passages.shape}.")
    k = min(k, len(passages))
    scores = np.empty((len(queries), 0), dtype=np.float32)
    indices = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(passages), block):
        part = np.asarray(queries @ np.asarray(passages[start : start + block]).T, dtype=np.float32)
        scores = np.concatenate([scores, part], axis=1)
        indices = np.concatenate(
            [indices, np.broadcast_to(np.arange(start, start + part.shape[1]), part.shape)], axis=1
        )
        order = np.stack([_best(row, k) for row in scores]) if len(scores) else np.empty((0, k), dtype=np.int64)
        scores, indices = np.take_along_axis(scores, order, axis=1), np.take_along_axis(indices, order, axis=1)
    return scores, indices


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Positions of the k highest scores, best first, ties in order of position; sorts only those that may be in."""
    if len(scores) <= k:
        return np.argsort(-scores, kind="stable")
    candidates = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
    return candidates[np.argsort(-scores[candidates], kind="stable")[:k]]


def to_run(
    query_ids: Sequence[str], passage_ids: Sequence[str], scores: NDArray[np.float32], indices: NDArray[np.int64]
) -> Run:
    """Search results as a run."""
    return {
        query: {passage_ids[i]: float(s) for i, s in zip(row_i, row_s, strict=True)}
        for query, row_i, row_s in zip(query_ids, indices, scores, strict=True)
    }
