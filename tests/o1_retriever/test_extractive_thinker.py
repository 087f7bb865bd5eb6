"""Grounded thoughts: the sentences of the evidence that are nearest to the query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from o1_retriever import O1Embedder
from o1_retriever.errors import ThinkerError
from o1_retriever.extractive_thinker import ExtractiveThinker
from o1_retriever.thinkers import Thinker

BEES = "Bees dance to show the way. They fly far. Honey is sweet."
ADA = "Ada wrote a program. They fly far."


class SharedWords:
    """Scores a sentence by the words it shares with the query."""

    fingerprint = "words"

    def score(self, queries: Sequence[str], sentences: Sequence[Sequence[str]]) -> list[Sequence[float]]:
        return [
            [len({*query.lower().split()} & {*text.lower().rstrip(".").split()}) for text in row]
            for query, row in zip(queries, sentences, strict=True)
        ]


def test_it_is_a_thinker() -> None:
    assert isinstance(ExtractiveThinker(SharedWords()), Thinker)


def test_the_nearest_sentences_come_first() -> None:
    thinker = ExtractiveThinker(SharedWords())
    thoughts = thinker.think(["who wrote it", "the way bees dance"], 2, evidence=[[BEES, ADA], [ADA, BEES]])
    assert thoughts == [
        ["Ada wrote a program.", "Bees dance to show the way."],
        ["Bees dance to show the way.", "Ada wrote a program."],
    ]


def test_the_same_sentence_is_taken_once_and_ties_go_to_the_earlier() -> None:
    (thoughts,) = ExtractiveThinker(SharedWords()).think(["nothing"], 4, evidence=[[BEES, ADA]])
    assert thoughts == ["Bees dance to show the way.", "They fly far.", "Honey is sweet.", "Ada wrote a program."]


def test_too_few_sentences_are_repeated_from_the_best() -> None:
    (thoughts,) = ExtractiveThinker(SharedWords()).think(["they fly"], 5, evidence=[[ADA]])
    best, other = "They fly far.", "Ada wrote a program."
    assert thoughts == [best, other, best, other, best]


@pytest.mark.parametrize("evidence", [None, [], [[BEES]], [[BEES], []], [[BEES], [" ", ""]]])
def test_no_evidence(evidence: list[list[str]] | None) -> None:
    with pytest.raises(ThinkerError, match=r"[Ss]earch first and pass the texts found"):
        ExtractiveThinker(SharedWords()).think(["why?", "who?"], 1, evidence=evidence)


def test_nothing_asked() -> None:
    thinker = ExtractiveThinker(SharedWords())
    assert thinker.think([], 3) == []
    assert thinker.think(["why?"], 0) == [[]]


def test_by_an_embedders_vectors(tiny: O1Embedder) -> None:
    queries, evidence = ["why do bees dance", "who is Ada"], [[BEES, ADA], [ADA]]
    thoughts = ExtractiveThinker(tiny).think(queries, 4, evidence)
    sentences = ["Bees dance to show the way.", "They fly far.", "Honey is sweet.", "Ada wrote a program."]
    scores = tiny.encode_document(sentences) @ tiny.encode_query(queries[0], num_thoughts=0)
    assert thoughts[0] == [sentences[index] for index in np.argsort(-scores, kind="stable")]
    assert set(thoughts[1]) == {"Ada wrote a program.", "They fly far."}


def test_the_fingerprint_names_the_embedder(tiny: O1Embedder, make_embedder: type[O1Embedder]) -> None:
    names = {ExtractiveThinker(embedder).fingerprint for embedder in (tiny, make_embedder(seed=1))}
    assert len(names | {ExtractiveThinker(SharedWords()).fingerprint}) == 3
    assert ExtractiveThinker(tiny).fingerprint in names


def test_an_embedder_may_think_with_its_own_vectors(make_embedder: type[O1Embedder]) -> None:
    embedder = make_embedder()
    embedder.thinker = ExtractiveThinker(embedder)
    assert embedder.query_fingerprint() != make_embedder().query_fingerprint()
    encoding = embedder.encode_query(["who wrote?"], num_thoughts=2, evidence=[[ADA]], return_thoughts=True)
    assert sorted(encoding.thoughts[0]) == ["Ada wrote a program.", "They fly far."]
