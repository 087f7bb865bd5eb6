"""Metrics against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from o1_retriever.metrics import all_at_k, ndcg_at_k, recall_at_k

RANKING = ["x", "a", "y", "b", "z"]


@pytest.mark.parametrize(("k", "expected"), [(1, 0.0), (2, 0.5), (3, 0.5), (4, 1.0), (10, 1.0)])
def test_recall(k: int, expected: float) -> None:
    assert recall_at_k(RANKING, {"a": 1, "b": 2}, k) == expected


@pytest.mark.parametrize(("k", "expected"), [(3, False), (4, True), (10, True)])
def test_all(k: int, expected: bool) -> None:
    assert all_at_k(RANKING, {"a": 1, "b": 2}, k) is expected


def test_ndcg_has_linear_gains() -> None:
    """a (2) at rank 2 and b (1) at rank 4; ideally at ranks 1 and 2."""
    expected = (2 / math.log2(3) + 1 / math.log2(5)) / (2 / math.log2(2) + 1 / math.log2(3))
    assert ndcg_at_k(RANKING, {"a": 2, "b": 1}, 10) == pytest.approx(expected)
    assert ndcg_at_k(RANKING, {"a": 2, "b": 1}, 2) == pytest.approx((2 / math.log2(3)) / (2 + 1 / math.log2(3)))


def test_ndcg_is_one_for_the_ideal_order_also_when_not_all_fit() -> None:
    assert ndcg_at_k(["a", "b", "c"], {"a": 3, "b": 2, "c": 1}, 10) == pytest.approx(1.0)
    assert ndcg_at_k(["a", "b"], {"a": 1, "b": 1, "c": 1}, 2) == pytest.approx(1.0)
    assert ndcg_at_k(["c", "a"], {"a": 3, "c": 1}, 10) < 1.0


def test_nothing_found() -> None:
    assert recall_at_k([], {"a": 1}, 10) == 0.0
    assert ndcg_at_k([], {"a": 1}, 10) == 0.0
    assert all_at_k([], {"a": 1}, 10) is False
