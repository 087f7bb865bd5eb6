"""Searching by words and by both sides: values worked out by hand, and equality with plain references."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from pathlib import Path

import numpy as np
import pytest

from chroma_o1 import O1ChromaStore, Passage, searching
from o1_retriever import O1Embedder
from o1_retriever.errors import InvalidInputError, InvalidTypeError
from o1_retriever.lexical import LexicalIndex

Make = Callable[[int], list[Passage]]
# BM25 of Lucene, k1 0.9, b 0.4, passages of equal length: ln(1 + (N - n + 0.5) / (n + 0.5)) * 1 / (1 + 0.9) a word
BEES, HONEY = log(1 + 1.5 / 2.5) / 1.9, log(1 + 2.5 / 1.5) / 1.9  # in 2 and in 1 of N = 3 passages
TEXTS = ("bees honey", "bees flowers", "program computer")
COSINES = (0.0, 0.6, 1.0)


def axis(dimension: int) -> np.ndarray:
    vector = np.zeros(dimension, dtype=np.float32)
    vector[0] = 1.0
    return vector


@pytest.fixture
def by_hand(store: O1ChromaStore, monkeypatch: pytest.MonkeyPatch) -> O1ChromaStore:
    """Three passages whose cosines with the query's vector, the first axis, are 0, 0.6 and 1."""
    rows = np.zeros((3, store.embedder.dimension), dtype=np.float32)
    rows[:, 0] = COSINES
    rows[:, 1] = np.sqrt(1 - rows[:, 0] ** 2)
    monkeypatch.setattr(store.embedder, "encode_document", lambda texts, **_: rows[: len(texts)])
    store.add(map(Passage, TEXTS))
    return store


def found(store: O1ChromaStore, **how: object) -> list[tuple[str, float]]:
    hits = store.search(axis(store.embedder.dimension), lexical_query="Bees, honey", **how)  # type: ignore[arg-type]
    return [(hit.text, hit.score) for hit in hits]


def assert_found(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-6)


def test_lexical_scores(by_hand: O1ChromaStore) -> None:
    expected = [(TEXTS[0], BEES + HONEY), (TEXTS[1], BEES)]  # the third one shares no word
    assert_found(found(by_hand, mode="lexical"), expected)
    assert_found(found(by_hand, mode="lexical", k=1), expected[:1])
    assert by_hand.search("nothing of that", mode="lexical") == []


@pytest.mark.parametrize("weight", [0.0, 0.4, 0.5, 2.0])
def test_weighted_scores(by_hand: O1ChromaStore, weight: float) -> None:
    lexical = (1.0, BEES / (BEES + HONEY), 0.0)  # of the best one
    scores = [cosine + weight * part for cosine, part in zip(COSINES, lexical, strict=True)]
    order = sorted(range(3), key=lambda row: -scores[row])
    expected = [(TEXTS[row], scores[row]) for row in order]
    assert_found(found(by_hand, mode="hybrid", lexical_weight=weight), expected)
    assert [TEXTS[row] for row in order] == [*TEXTS] if weight == 2.0 else [*TEXTS[::-1]]
    if weight == 0.4:  # the default
        assert_found(found(by_hand, mode="hybrid"), expected)


def test_reciprocal_ranks(by_hand: O1ChromaStore) -> None:
    expected = [(TEXTS[0], 1 / 63 + 1 / 61), (TEXTS[1], 1 / 62 + 1 / 62), (TEXTS[2], 1 / 61)]
    assert_found(found(by_hand, mode="hybrid", fusion="reciprocal_rank"), expected)
    weak = [(TEXTS[2], 1 / 61), (TEXTS[1], 1 / 62 + 0.01 / 62), (TEXTS[0], 1 / 63 + 0.01 / 61)]
    assert_found(found(by_hand, mode="hybrid", fusion="reciprocal_rank", lexical_weight=0.01), weak)


def test_dense_is_the_default(by_hand: O1ChromaStore) -> None:
    assert_found(found(by_hand), list(zip(TEXTS[::-1], COSINES[::-1], strict=True)))


def test_what_only_the_words_found_is_measured(by_hand: O1ChromaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """With two passages a side, the dense side does not see the one of cosine 0."""
    monkeypatch.setattr(searching, "DEPTH", 1)
    assert_found(found(by_hand, mode="hybrid", k=1, lexical_weight=2.0), [(TEXTS[0], 0.0 + 2.0)])
    assert_found(found(by_hand, mode="hybrid", k=1, lexical_weight=0.9), [(TEXTS[2], 1.0)])


def test_hybrid_equals_the_plain_way(store: O1ChromaStore, tiny: O1Embedder, passages: Make) -> None:
    given = passages(80)
    store.add(given)
    words, vectors = LexicalIndex([p.full_text for p in given]), tiny.encode_document([p.full_text for p in given])
    questions = ["passage 7 title", "title 31 word", "word word passage", "12"]
    batch = store.search_batch(questions, 10, 1, mode="hybrid", lexical_weight=0.7)
    for question, hits in zip(questions, batch, strict=True):
        bm25 = words.scores(question)
        scores = vectors @ tiny.encode_query(question, 1) + 0.7 * bm25 / bm25.max()
        expected = np.sort(scores)[::-1][:10]
        assert [hit.score for hit in hits] == pytest.approx(expected.tolist(), abs=1e-4)
        positions = {p.id: row for row, p in enumerate(given)}
        assert [scores[positions[hit.id]] for hit in hits] == pytest.approx(expected.tolist(), abs=1e-4)


def test_lexical_equals_the_plain_way(store: O1ChromaStore, passages: Make) -> None:
    given = passages(80)
    store.add(given)
    words = LexicalIndex([p.full_text for p in given])
    for question in ("passage 7 title", "title 31", "word"):
        hits, scores = store.search(question, 80, mode="lexical"), words.scores(question)
        assert len(hits) == np.count_nonzero(scores)
        positions = {p.id: row for row, p in enumerate(given)}
        assert [scores[positions[hit.id]] for hit in hits] == pytest.approx([hit.score for hit in hits])
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_titles_are_words_too(store: O1ChromaStore) -> None:
    store.add([Passage("dance at noon", "Bees"), Passage("swim all day", "Ducks")])
    [hit] = store.search("ducks", mode="lexical")
    assert (hit.title, hit.text) == ("Ducks", "swim all day")


@pytest.mark.parametrize("texts", [[], ["the of", "?!", "a"]], ids=["empty", "only stop words"])
def test_a_store_without_words(store: O1ChromaStore, texts: list[str]) -> None:
    store.add(map(Passage, texts))
    assert store.search("the question", mode="lexical") == []
    assert {hit.text for hit in store.search("the question", mode="hybrid")} == set(texts)


def test_a_query_without_words_is_dense(by_hand: O1ChromaStore) -> None:
    hits = by_hand.search(axis(by_hand.embedder.dimension), lexical_query="the ?", mode="hybrid")
    assert [(hit.text, round(hit.score, 5)) for hit in hits] == list(zip(TEXTS[::-1], COSINES[::-1], strict=True))


def test_words_alone_ask_no_model(by_hand: O1ChromaStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_hand.embedder, "encode_query", lambda *_, **__: pytest.fail("thought"))
    assert by_hand.search("honey", mode="lexical")[0].text == TEXTS[0]


def test_threads_search_while_another_adds(store: O1ChromaStore, passages: Make) -> None:
    from concurrent.futures import ThreadPoolExecutor

    given = passages(60)
    store.add(given[:10])
    with ThreadPoolExecutor(3) as pool:
        adding = pool.submit(lambda: [store.add(given[start : start + 10]) for start in range(10, 60, 10)])
        searching_ = [
            pool.submit(store.search, "title passage", 5, 0, mode=mode) for mode in ("hybrid", "lexical") * 10
        ]
        assert all(len(search.result()) == 5 for search in searching_) and len(adding.result()) == 5
    assert len(store.search("passage", 100, mode="lexical")) == 60


def test_bad_arguments(by_hand: O1ChromaStore, tmp_path: Path) -> None:
    vector = axis(by_hand.embedder.dimension)
    for how, message in (
        ({"mode": "both"}, "mode must be one of dense, lexical, hybrid"),
        ({"mode": None}, "mode must be one of"),
        ({"fusion": "sum"}, "fusion must be one of scores, reciprocal_rank"),
        ({"mode": "hybrid", "lexical_weight": -1.0}, "lexical_weight must be a finite number"),
        ({"mode": "hybrid", "lexical_weight": float("nan")}, "lexical_weight"),
        ({"mode": "hybrid"}, "no words: give them as lexical_query"),
        ({"mode": "lexical"}, "no words"),
        ({"mode": "lexical", "lexical_query": " "}, "empty"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            by_hand.search(vector, **how)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="2 texts, one for each"):
        by_hand.search_batch(["a", "b"], mode="hybrid", lexical_queries=["a"])
    for query in (None, ["text"], {"a": 1}, object()):
        with pytest.raises(InvalidTypeError, match="a query is a text or a vector"):
            by_hand.search(query)  # type: ignore[arg-type]
    for queries in ("text", None, 3):
        with pytest.raises(InvalidTypeError, match="list of queries"):
            by_hand.search_batch(queries)  # type: ignore[arg-type]
    for bad in ([None], [None, "text"]):
        for mode in ("dense", "lexical"):
            with pytest.raises(InvalidTypeError, match="query 0 is NoneType"):
                by_hand.search_batch(bad, mode=mode)  # type: ignore[arg-type, list-item]
    with pytest.raises(InvalidTypeError, match="k must be an int"):
        by_hand.search("a", k="3")  # type: ignore[arg-type]
