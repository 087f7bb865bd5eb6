"""Retrieval metrics of one query, as pure functions of a ranking and its judgements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def recall_at_k(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """Share of the relevant passages among the first k.

    >>> recall_at_k(["a", "x", "b"], {"a": 1, "b": 1}, k=2)
    0.5
    """
    return len(set(ranking[:k]) & relevant.keys()) / len(relevant)


def all_at_k(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> bool:
    """Whether every relevant passage is among the first k: what a question over two passages needs.

    >>> all_at_k(["a", "x", "b"], {"a": 1, "b": 1}, k=2)
    False
    """
    return relevant.keys() <= set(ranking[:k])


def ndcg_at_k(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """Normalised discounted cumulative gain with linear gains: sum_i rel_i / log2(i + 1), over the ideal order's.

    >>> ndcg_at_k(["x", "a"], {"a": 1}, k=10) == 1 / math.log2(3)
    True
    """
    gains = [relevant.get(passage, 0) for passage in ranking[:k]]
    ideal = sorted(relevant.values(), reverse=True)[:k]
    return _discounted(gains) / _discounted(ideal)


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
