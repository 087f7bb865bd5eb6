"""Ranks of positives by hand, and blocks against one whole search."""

from __future__ import annotations

import numpy as np
import pytest

from o1_retriever.synthesis.ranking import rank_positives

SCORES = np.array([[0.9, 0.8, 0.7, 0.6, 0.7, 0.1]], dtype=np.float32)


def test_ranks_count_only_passages_that_are_not_positives() -> None:
    # passages 1 and 3 are right: 0 stands above 1; 0, 2 and 4 above 3
    [found] = rank_positives([(0, SCORES)], [[1, 3]], [SCORES[0, [1, 3]]], depth=3)
    assert found.ranks.tolist() == [2, 4]
    assert found.reciprocal_rank() == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert found.negatives.tolist() == [0, 2, 4], "equal scores in the corpus' order"
    assert found.margin(2) == pytest.approx((0.8 + 0.6) / 2 - (0.9 + 0.7) / 2)


def test_a_tie_counts_for_the_positive() -> None:
    scores = np.array([[0.5, 0.5]], dtype=np.float32)
    [found] = rank_positives([(0, scores)], [[1]], [scores[0, [1]]], depth=5)
    assert found.ranks.tolist() == [1]
    assert found.negatives.tolist() == [0]


def test_a_copy_of_the_positive_that_differs_by_rounding_is_a_tie() -> None:
    scores = np.array([[0.5 + 1e-7, 0.5]], dtype=np.float32)
    [found] = rank_positives([(0, scores)], [[1]], [scores[0, [1]]], depth=5)
    assert found.ranks.tolist() == [1]


def test_a_corpus_of_positives_only() -> None:
    scores = np.array([[0.5]], dtype=np.float32)
    [found] = rank_positives([(0, scores)], [[0]], [scores[0]], depth=5)
    assert (found.ranks.tolist(), found.negatives.tolist(), found.margin(3)) == ([1], [], 0.5)


@pytest.mark.parametrize("size", [1, 7, 40, 100])
def test_blocks_equal_one_search(size: int) -> None:
    generator = np.random.default_rng(0)
    scores = generator.integers(0, 30, size=(5, 100)).astype(np.float32)  # with many ties
    positives = [generator.choice(100, size=n, replace=False).tolist() for n in (1, 2, 3, 1, 5)]
    own = [scores[i, rows] for i, rows in enumerate(positives)]
    blocks = [(start, scores[:, start : start + size]) for start in range(0, 100, size)]
    for index, found in enumerate(rank_positives(blocks, positives, own, depth=12)):
        others = [row for row in range(100) if row not in positives[index]]
        best = sorted(others, key=lambda row: (-scores[index, row], row))[:12]
        assert found.negatives.tolist() == best
        assert found.negative_scores.tolist() == scores[index, best].tolist()
        expected = [1 + sum(scores[index, o] > scores[index, p] for o in others) for p in positives[index]]
        assert found.ranks.tolist() == expected
