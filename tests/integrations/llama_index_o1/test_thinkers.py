"""Where thoughts come from: the field `thinker`, the cache of thoughts, failures, and what travels."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.ingestion.pipeline import get_transformation_hash
from llama_index.core.schema import TextNode
from llama_index.embeddings.o1 import LlamaIndexThinker, O1Embedding
from pydantic import ValidationError

from o1_retriever import RecordedThoughts, pooling
from o1_retriever.errors import InvalidTypeError, StorageError, ThinkerError, TransientThinkerError
from o1_retriever.thinkers import Thinker

Make = Callable[..., O1Embedding]
QUERY = "Why do bees dance?"
THOUGHTS = ["They tell the others where flowers are.", "A waggle run points to food.", "Scouts dance in the hive."]
RECORDED = RecordedThoughts({QUERY: THOUGHTS})


class Counting:
    """A thinker that notes what it is asked; `failure` is raised instead of an answer."""

    fingerprint = "counting"

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked: list[tuple[list[str], int]] = []
        self.failure = failure

    def think(self, queries: Sequence[str], num_thoughts: int, evidence: Any = None) -> list[list[str]]:
        self.asked.append((list(queries), num_thoughts))
        if self.failure is not None:
            raise self.failure
        return [[f"{query} {number}" for number in range(num_thoughts)] for query in queries]


def test_a_thinker_s_thoughts_are_embedded(make: Make, embedding: O1Embedding) -> None:
    found = make(thinker=RECORDED).get_query_embedding_with_thoughts(QUERY)
    assert found.thoughts == THOUGHTS
    np.testing.assert_allclose(found.embedding, embedding.embedder.encode_query(QUERY, thoughts=THOUGHTS), atol=1e-6)
    assert np.shape(found.thought_embeddings) == (3, 32)
    mean = np.mean(found.thought_embeddings, axis=0)
    np.testing.assert_allclose(found.embedding, mean / np.linalg.norm(mean), atol=1e-6)


@pytest.mark.parametrize("thinker", [None, RECORDED], ids=["own", "recorded"])
def test_every_way_to_ask_gives_the_same(make: Make, thinker: Thinker | None) -> None:
    embedding = make(thinker=thinker)
    found = embedding.get_query_embedding_with_thoughts(QUERY)
    assert asyncio.run(embedding.aget_query_embedding_with_thoughts(QUERY)) == found
    assert embedding.get_query_embedding(QUERY) == found.embedding
    assert asyncio.run(embedding.aget_query_embedding(QUERY)) == found.embedding
    assert embedding.think(QUERY) == found.thoughts
    (several,) = embedding.get_query_embeddings_with_thoughts([QUERY])
    assert several == found


def test_the_number_of_thoughts_may_be_said_per_query(make: Make) -> None:
    embedding = make(thinker=RECORDED)
    for number in (0, 1, 2):
        found = embedding.get_query_embedding_with_thoughts(QUERY, num_thoughts=number)
        assert found.thoughts == THOUGHTS[:number]
        assert asyncio.run(embedding.aget_query_embedding_with_thoughts(QUERY, num_thoughts=number)) == found
    alone = embedding.get_query_embedding_with_thoughts(QUERY, num_thoughts=0)
    assert alone.embedding == make(num_thoughts=0).get_query_embedding(QUERY)
    np.testing.assert_allclose(alone.thought_embeddings, [alone.embedding], atol=1e-6)


def test_texts_do_not_depend_on_the_thinker(make: Make, embedding: O1Embedding) -> None:
    assert make(thinker=Counting(ThinkerError("no"))).get_text_embedding(QUERY) == embedding.get_text_embedding(QUERY)


def test_weights_are_shared_by_all_thinkers(make: Make, embedding: O1Embedding) -> None:
    thinking = make(thinker=RECORDED)
    assert thinking.embedder is thinking.embedder
    assert thinking.embedder is not embedding.embedder
    assert thinking.embedder.model is embedding.embedder.model
    thinking.thinker = None
    assert thinking.embedder is embedding.embedder


def test_a_passing_failure_degrades_visibly(
    make: Make, heard: Callable[[], list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    embedding = make(thinker=Counting(TransientThinkerError("come back later")))
    alone = make(num_thoughts=0).get_query_embedding(QUERY)
    with caplog.at_level(logging.WARNING):
        found = embedding.get_query_embedding_with_thoughts(QUERY)
        assert asyncio.run(embedding.aget_query_embedding_with_thoughts(QUERY)) == found
    assert (found.degraded, found.thoughts, found.embedding) == (True, [], alone)
    assert embedding.get_query_embedding(QUERY) == alone
    assert embedding.embedder.counters["degraded"] == 3
    assert [event.degraded for event in heard()[1:]] == [True, True, True]
    assert "come back later" in caplog.text


def test_a_lasting_failure_raises(make: Make) -> None:
    embedding = make(thinker=Counting(ThinkerError("wrong key")))
    with pytest.raises(ThinkerError, match="wrong key"):
        embedding.get_query_embedding(QUERY)
    with pytest.raises(ThinkerError, match="wrong key"):
        asyncio.run(embedding.aget_query_embedding(QUERY))
    with pytest.raises(TransientThinkerError):  # asked for thoughts alone, there is nothing to fall back on
        make(thinker=Counting(TransientThinkerError("later"))).think(QUERY)


def test_too_few_thoughts_are_an_error(make: Make) -> None:
    embedding = make(thinker=RECORDED, num_thoughts=4)
    with pytest.raises(ThinkerError, match="record more or lower num_thoughts"):
        embedding.get_query_embedding(QUERY)


@pytest.mark.parametrize("wrong", ["gpt-4", 3, O1Embedding, Counting], ids=str)
def test_what_is_no_thinker(make: Make, embedding: O1Embedding, wrong: Any) -> None:
    with pytest.raises(InvalidTypeError, match="thinker must be a language model of LlamaIndex"):
        make(thinker=wrong)
    with pytest.raises(InvalidTypeError, match="thinker must be"):
        embedding.thinker = wrong
    assert embedding.thinker is None


def test_a_language_model_is_wrapped(make: Make, scripted: Any) -> None:
    llm = scripted()
    embedding = make(thinker=llm)
    assert isinstance(embedding.thinker, LlamaIndexThinker)
    assert embedding.thinker.llm is llm
    assert embedding.think(QUERY) == [f"<{QUERY}> {angle}" for angle in ("Write", "Reason", "Follow")]


def test_a_dict_names_the_thinker_and_leaves_it_out(make: Make) -> None:
    embedding = make(thinker=RECORDED)
    data = embedding.to_dict()
    assert data["thinker_fingerprint"] == RECORDED.fingerprint
    assert "thinker" not in data and "embeddings_cache" not in data
    again = O1Embedding.from_dict(data)
    assert again.to_dict() == data
    assert again.get_text_embedding(QUERY) == embedding.get_text_embedding(QUERY)
    with pytest.raises(ThinkerError, match="set it again"):
        again.get_query_embedding(QUERY)
    given = O1Embedding.from_dict(data, thinker=RECORDED)
    again.thinker = RECORDED
    assert given.get_query_embedding(QUERY) == again.get_query_embedding(QUERY) == embedding.get_query_embedding(QUERY)


def test_a_pickle_leaves_the_thinker_out_and_alone(make: Make, scripted: Any) -> None:
    embedding = make(thinker=scripted())
    thinker = embedding.thinker
    again = pickle.loads(pickle.dumps(embedding))
    assert embedding.thinker is thinker
    assert again.thinker.fingerprint == thinker.fingerprint
    with pytest.raises(ThinkerError, match="set it again"):
        again.get_query_embedding(QUERY)


def test_copies_share_the_thinker(make: Make, scripted: Any) -> None:
    embedding = make(thinker=scripted(), num_thoughts=1)
    for twin in (copy.copy(embedding), copy.deepcopy(embedding), embedding.with_changes(num_thoughts=2)):
        assert twin.thinker is embedding.thinker
        assert twin.get_text_embedding(QUERY) == embedding.get_text_embedding(QUERY)
    assert embedding.num_thoughts == 1


def test_the_query_side_stays_out_of_the_ingestion_hash(make: Make, tmp_path: Path) -> None:
    nodes = [TextNode(text="Bees dance.", id_="1")]
    other = make(thinker=RECORDED, aggregation="mean", thought_cache=tmp_path / "thoughts.sqlite")
    assert get_transformation_hash(nodes, other) == get_transformation_hash(nodes, make())


def test_aggregation(make: Make, embedding: O1Embedding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pooling.AGGREGATIONS, "first", lambda vectors: vectors[:, 0])
    first, plain = make(aggregation="first"), embedding.get_query_embedding_with_thoughts(QUERY)
    found = first.get_query_embedding_with_thoughts(QUERY)
    assert found.embedding == pytest.approx(plain.thought_embeddings[0], abs=1e-6)
    assert found.thoughts == plain.thoughts
    assert first.embedder.model is embedding.embedder.model
    assert make(aggregation="mean").embedder is embedding.embedder  # the checkpoint's own
    assert first.embedder.passage_fingerprint == embedding.embedder.passage_fingerprint
    assert first.embedder.query_fingerprint() != embedding.embedder.query_fingerprint()
    with pytest.raises(ValidationError, match="Unknown aggregation 'median'"):
        make(aggregation="median")


def test_thoughts_are_remembered_in_a_file(make: Make, tmp_path: Path) -> None:
    path, thinker = tmp_path / "thoughts.sqlite", Counting()
    first = make(thinker=thinker, thought_cache=path).get_query_embedding_with_thoughts(QUERY)
    again = make(thinker=thinker, thought_cache=str(path))
    assert again.get_query_embedding_with_thoughts(QUERY) == first
    assert asyncio.run(again.aget_query_embedding_with_thoughts(QUERY)) == first
    assert thinker.asked == [([QUERY], 3)]
    assert again.thought_cache == str(path)


def test_own_thoughts_are_remembered_too(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "thoughts.sqlite"
    first = make(thought_cache=path).get_query_embedding_with_thoughts(QUERY)
    assert first.thoughts == make().think(QUERY)
    other_seed = make(thought_cache=path, seed=3).get_query_embedding_with_thoughts(QUERY)
    assert other_seed.thoughts == make(seed=3).think(QUERY) != first.thoughts
    monkeypatch.setattr(make().embedder._self_thinker, "think", None)  # whoever thinks now fails
    assert make(thought_cache=path).get_query_embedding_with_thoughts(QUERY) == first


def test_a_degraded_result_leaves_no_thoughts_behind(make: Make, tmp_path: Path) -> None:
    thinker = Counting(TransientThinkerError("later"))
    embedding = make(thinker=thinker, thought_cache=tmp_path / "thoughts.sqlite")
    assert embedding.get_query_embedding_with_thoughts(QUERY).degraded
    thinker.failure = None
    assert len(embedding.get_query_embedding_with_thoughts(QUERY).thoughts) == 3


def test_a_file_that_is_no_cache(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "thoughts.sqlite"
    path.write_text("these are no thoughts, and certainly no database" * 100)
    embedding = make(thought_cache=path)
    with pytest.raises(StorageError, match=r"thoughts\.sqlite"):
        embedding.get_query_embedding(QUERY)
    assert len(embedding.get_text_embedding(QUERY)) == 32
