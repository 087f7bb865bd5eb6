"""Measures against values worked out by hand and against the engine's own metrics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from o1_eval.measures import ALL, NDCG, RECALL, score
from o1_eval.runs import ranking
from o1_retriever.metrics import all_at_k, ndcg_at_k, recall_at_k


def test_hand_derived_values() -> None:
    qrels = {"q1": {"a": 2, "b": 1}, "q2": {"c": 1}}
    run = {"q1": {"b": 0.9, "x": 0.8, "a": 0.7}, "q2": {"x": 1.0}}
    scores = score(run, qrels, ["q2", "q1"])
    gained = 1 / math.log2(2) + 2 / math.log2(4)
    ideal = 2 / math.log2(2) + 1 / math.log2(3)
    assert scores[NDCG] == pytest.approx([0.0, gained / ideal])
    assert scores[RECALL].tolist() == [0.0, 1.0]
    assert scores[ALL].tolist() == [0.0, 1.0]


def test_all_at_5_looks_at_five_and_recall_at_ten() -> None:
    run = {"q": {f"x{i}": 10.0 - i for i in range(5)} | {"a": 1.0}}
    scores = score(run, {"q": {"a": 1}}, ["q"])
    assert scores[ALL].tolist() == [0.0]
    assert scores[RECALL].tolist() == [1.0]


def test_queries_without_results_count_zero() -> None:
    scores = score({"q1": {}}, {"q1": {"a": 1}, "q2": {"a": 1}}, ["q1", "q2"])
    assert all(values.tolist() == [0.0, 0.0] for values in scores.values())


def test_only_the_queries_asked_for_count() -> None:
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}}
    scores = score({"q1": {"a": 1.0}, "q2": {"x": 1.0}}, qrels, ["q1"])
    assert scores[NDCG].tolist() == [1.0]


def test_random_runs_agree_with_the_engine() -> None:
    generator = np.random.default_rng(0)
    names = [f"p{i}" for i in range(30)]
    qrels, run = {}, {}
    for query in map(str, range(20)):
        judged = generator.choice(names, size=generator.integers(1, 6), replace=False)
        qrels[query] = {str(p): int(generator.integers(1, 3)) for p in judged}
        run[query] = {p: float(np.float32(s)) for p, s in zip(names, generator.random(30), strict=True)}
    scores = score(run, qrels, list(qrels))
    for position, (query, relevant) in enumerate(qrels.items()):
        ranked = ranking(run[query])
        assert scores[NDCG][position] == pytest.approx(ndcg_at_k(ranked, relevant, 10))
        assert scores[RECALL][position] == pytest.approx(recall_at_k(ranked, relevant, 10))
        assert scores[ALL][position] == all_at_k(ranked, relevant, 5)


def test_ties_are_broken_alike_in_all_measures() -> None:
    """trec_eval takes the greater id first; so do we."""
    run = {"q": {f"p{i}": 1.0 for i in range(10)} | {"p9b": 1.0}}
    assert ranking(run["q"])[0] == "p9b"
    scores = score(run, {"q": {"p0": 1}}, ["q"])
    assert scores[RECALL].tolist() == [0.0]
    assert score(run, {"q": {"p9b": 1}}, ["q"])[NDCG].tolist() == [1.0]
