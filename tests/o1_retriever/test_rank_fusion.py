"""Fusing rankings: values worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from o1_retriever.errors import InvalidInputError
from o1_retriever.rank_fusion import RANK_CONSTANT, best_first, reciprocal_rank_fusion, weighted_scores


def test_reciprocal_ranks_add_up() -> None:
    fused = reciprocal_rank_fusion([["a", "b", "c"], ["c", "a"], ["d"]])
    assert RANK_CONSTANT == 60
    assert fused == pytest.approx({"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "d": 1 / 61, "b": 1 / 62})
    assert list(fused) == ["a", "c", "d", "b"]


def test_weights_and_constant() -> None:
    fused = reciprocal_rank_fusion([["a", "b"], ["b", "a"]], weights=[1, 3], constant=0)
    assert fused == {"b": 0.5 + 3.0, "a": 1.0 + 1.5}
    assert list(reciprocal_rank_fusion([["a", "b"], ["b", "a"]], weights=[3, 1])) == ["a", "b"]


def test_a_ranking_of_weight_zero_moves_nothing() -> None:
    fused = reciprocal_rank_fusion([["a", "b"], ["c", "b", "a"]], weights=[1, 0])
    assert list(fused) == ["a", "b", "c"] and fused["c"] == 0.0


def test_equal_scores_keep_the_first_ranking_in_front() -> None:
    assert list(reciprocal_rank_fusion([["a", "b"], ["b", "a"]])) == ["a", "b"]
    assert list(reciprocal_rank_fusion([["x"], ["y"]])) == ["x", "y"]


def test_nothing_to_fuse() -> None:
    assert reciprocal_rank_fusion([]) == {} == reciprocal_rank_fusion([[], []])
    assert weighted_scores({}, {}, 1.0) == {}


def test_weighted_scores_by_hand() -> None:
    # BM25 12 is the highest and counts as the whole weight of 0.4, BM25 3 as a quarter of it
    fused = weighted_scores({"a": 0.9, "b": 0.6, "c": 0.5}, {"b": 12.0, "c": 3.0}, weight=0.4)
    assert fused == pytest.approx({"b": 1.0, "a": 0.9, "c": 0.6})
    assert list(fused) == ["b", "a", "c"]


def test_the_highest_score_may_lie_outside() -> None:
    assert weighted_scores({"a": 0.5}, {"a": 2.0}, 1.0, highest=8.0) == {"a": 0.75}


def test_without_a_common_word_the_dense_order_stays() -> None:
    dense = {"a": 0.25, "b": 0.5}
    assert weighted_scores(dense, {}, 0.4) == {"b": 0.5, "a": 0.25}
    assert weighted_scores(dense, {"a": 0.0}, 0.4) == {"b": 0.5, "a": 0.25}
    assert weighted_scores(dense, {"a": 3.0}, 0.0) == {"b": 0.5, "a": 0.25}


def test_best_first_is_stable() -> None:
    assert list(best_first({"a": 1.0, "b": 2.0, "c": 1.0, "d": 2.0})) == ["b", "d", "a", "c"]


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, "1", None, True])
def test_bad_weights_are_named(bad: Any) -> None:
    with pytest.raises(InvalidInputError, match="weights must be a finite number"):
        reciprocal_rank_fusion([["a"]], weights=[bad])
    with pytest.raises(InvalidInputError, match="constant must be"):
        reciprocal_rank_fusion([["a"]], constant=bad)
    with pytest.raises(InvalidInputError, match="weight must be"):
        weighted_scores({"a": 1.0}, {}, bad)


def test_bad_rankings_are_named() -> None:
    with pytest.raises(InvalidInputError, match="an id twice"):
        reciprocal_rank_fusion([["a", "a"]])
    with pytest.raises(InvalidInputError, match="2 rankings and 1 weights"):
        reciprocal_rank_fusion([["a"], ["b"]], weights=[1.0])
