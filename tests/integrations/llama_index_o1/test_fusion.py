"""Fusion of result lists, by values derived by hand."""

from __future__ import annotations

import pytest
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.retrievers.o1.rankings import fuse


def ranked(names: str) -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=name, id_=name), score=0.5) for name in names]


def test_sums_of_reciprocal_ranks() -> None:
    fused = fuse([ranked("abc"), ranked("ca")], [1.0, 1.0], top_k=3)
    assert [result.node_id for result in fused] == ["a", "c", "b"]
    assert [result.score for result in fused] == pytest.approx([1 / 61 + 1 / 62, 1 / 63 + 1 / 61, 1 / 62])


def test_weights() -> None:
    fused = fuse([ranked("ab"), ranked("bc")], [1.0, 0.5], top_k=3)
    assert {result.node_id: result.score for result in fused} == pytest.approx(
        {"b": 1 / 62 + 0.5 / 61, "a": 1 / 61, "c": 0.5 / 62}
    )
    assert [result.node_id for result in fused] == ["b", "a", "c"]


def test_ties_go_to_what_was_found_first_and_the_rest_is_cut() -> None:
    fused = fuse([ranked("ab"), ranked("cd")], [1.0, 1.0], top_k=3)
    assert [result.node_id for result in fused] == ["a", "c", "b"]
    assert fuse([], [], top_k=3) == []


def test_the_lists_stay_as_they_are() -> None:
    results = ranked("aba")
    assert [result.node_id for result in fuse([results, results], [1.0, 1.0], top_k=2)] == ["a", "b"]
    assert [result.score for result in results] == [0.5] * 3
