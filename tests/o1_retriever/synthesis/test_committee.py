"""Members against plain searches, and what each of them searches with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from o1_retriever import O1Embedder
from o1_retriever.errors import InvalidInputError
from o1_retriever.lexical import LexicalIndex
from o1_retriever.synthesis import committee
from o1_retriever.synthesis.committee import DenseMember, LexicalMember, o1_member
from o1_retriever.vectors import VectorCache

PASSAGES = [f"{word} number {i} of the {word} tribe" for i, word in enumerate(["ant", "bee", "cat", "dog", "elk"] * 8)]
POSITIVES = [[1], [2, 17], [39]]
QUERIES = ["which bee", "what about a cat", "elk"]
CANDIDATES = ["the bee number 1", None, "number 39"]


class WordEncoder:
    """Vectors of hashed words: texts with the same words are near."""

    name, passage_key, query_key = "words", "words-p", "words-q"

    def __init__(self) -> None:
        self.queries: list[str] = []

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self.vector(text) for text in texts])

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.queries += texts
        return self.encode_passages(texts)

    @staticmethod
    def vector(text: str) -> NDArray[np.float32]:
        total = np.zeros(16, dtype=np.float32)
        for word in text.split():
            total += np.random.default_rng(sum(map(ord, word))).normal(size=16).astype(np.float32)
        return np.asarray(total / np.linalg.norm(total), dtype=np.float32)


def plain_ranks(scores: NDArray[np.float32], positives: Sequence[int]) -> list[int]:
    others = [row for row in range(len(scores)) if row not in positives]
    return [1 + sum(scores[other] > scores[row] for other in others) for row in positives]


@pytest.mark.parametrize(("chunk", "held"), [(7, 30), (1000, 1 << 22), (8, 1)])
def test_dense_member_equals_a_plain_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, held: int
) -> None:
    monkeypatch.setattr(committee, "SCORES_AT_ONCE", held)
    monkeypatch.setattr(committee, "TEXT_BLOCK", 2)
    encoder = WordEncoder()
    member = DenseMember(encoder, VectorCache(tmp_path, chunk))
    member.prepare(PASSAGES)
    rankings = member.rank(QUERIES, CANDIDATES, POSITIVES, depth=5)
    texts = ["which bee the bee number 1", "what about a cat", "elk number 39"]
    assert encoder.queries == texts
    passages = encoder.encode_passages(PASSAGES)
    for text, positives, found in zip(texts, POSITIVES, rankings, strict=True):
        scores = passages @ encoder.vector(text)
        assert found.ranks.tolist() == plain_ranks(scores, positives)
        np.testing.assert_allclose(found.scores, scores[positives], rtol=1e-5)
        others = sorted(set(range(len(PASSAGES))) - set(positives), key=lambda row: -scores[row])
        np.testing.assert_allclose(found.negative_scores, scores[others[:5]], rtol=1e-5)


def test_dense_similarity_is_the_mean_over_the_positives(tmp_path: Path) -> None:
    encoder = WordEncoder()
    member = DenseMember(encoder, VectorCache(tmp_path, 7))
    member.prepare(PASSAGES)
    passages = encoder.encode_passages(PASSAGES)
    expected = float((passages[[2, 17]] @ encoder.vector("a cat")).mean())
    assert member.similarity(["a cat"], [[2, 17]]) == [pytest.approx(expected, rel=1e-5)]


def test_lexical_member() -> None:
    member = LexicalMember(query_weight=2)
    member.prepare(PASSAGES)
    index = LexicalIndex(PASSAGES)
    found = member.rank(QUERIES, CANDIDATES, POSITIVES, depth=5)
    for text, positives, ranking in zip(
        ["which bee which bee the bee number 1", "what about a cat", "elk elk number 39"], POSITIVES, found, strict=True
    ):
        scores = index.scores(text)
        assert ranking.ranks.tolist() == plain_ranks(scores, positives)
    assert member.similarity(["cat tribe"], [[2, 17]]) == [
        pytest.approx(float(index.scores("cat tribe")[[2, 17]].mean()))
    ]
    with pytest.raises(InvalidInputError):
        LexicalMember(query_weight=0)


def test_lexical_scores_equal_its_own_search_and_know_no_other_words() -> None:
    index = LexicalIndex(PASSAGES)
    scores, rows = index.search(["cat number 17 tribe"], k=len(PASSAGES))
    np.testing.assert_allclose(index.scores("cat number 17 tribe")[rows[0]], scores[0], rtol=1e-6)
    assert index.scores("cat cat")[2] == pytest.approx(2 * index.scores("cat")[2]), "a repeated word counts again"
    assert not index.scores("zebra the").any()


def test_o1_member_takes_the_candidate_as_the_thought(tmp_path: Path, tiny: O1Embedder) -> None:
    member = o1_member(tiny, "tiny", VectorCache(tmp_path, 7))
    member.prepare(PASSAGES)
    found = member.rank(QUERIES, CANDIDATES, POSITIVES, depth=5)
    passages = tiny.encode_document(PASSAGES)
    queries = tiny.encode_query(QUERIES, thoughts=[["the bee number 1"], [], ["number 39"]])
    for vector, positives, ranking in zip(queries, POSITIVES, found, strict=True):
        np.testing.assert_allclose(ranking.scores, passages[positives] @ vector, atol=1e-5)


def test_fingerprints_tell_members_apart(tmp_path: Path, tiny: O1Embedder) -> None:
    cache = VectorCache(tmp_path)
    members = [LexicalMember(1), LexicalMember(2), DenseMember(WordEncoder(), cache), o1_member(tiny, "tiny", cache)]
    assert len({member.fingerprint for member in members}) == 4


def test_without_a_shared_word_nothing_is_found() -> None:
    member = LexicalMember()
    member.prepare(PASSAGES)
    [alone, lifted] = member.rank(["zebra", "zebra"], [None, "the bee"], [[1], [1]], depth=100)
    assert alone.ranks.tolist() == [len(PASSAGES)] and alone.negatives.tolist() == []
    assert lifted.reciprocal_rank() > alone.reciprocal_rank()
    assert all(PASSAGES[row].startswith("bee") for row in lifted.negatives), "strangers are no near misses"
