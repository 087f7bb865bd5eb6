"""O1Retriever alone: what it finds, what it leaves alone, what it shows, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from llama_index.core import MockEmbedding, QueryBundle, StorageContext, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.schema import IndexNode, MetadataMode, NodeWithScore, TextNode
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters, SimpleVectorStore
from llama_index.embeddings.o1 import O1Embedding, base
from llama_index.retrievers.o1 import DEGRADED, THOUGHTS, O1QueryBundle, O1Retriever, VectorStoreError

from o1_retriever import O1Embedder, RecordedThoughts
from o1_retriever.errors import (
    FingerprintMismatchError,
    InvalidInputError,
    InvalidTypeError,
    ThinkerError,
    TransientThinkerError,
)

Make = Callable[..., O1Embedding]
QUERY = "Why do bees dance?"
THOUGHTS_OF_A = ["They tell the others the way.", "Food is near.", "A dance in the hive."]
THOUGHTS_OF_B = ["Tea came by camel.", "The road was long.", "Silk went west."]
EVEN = MetadataFilters(
    filters=[MetadataFilter(key="number", value=2), MetadataFilter(key="number", value=4)], condition="or"
)


class Unavailable:
    fingerprint = "unavailable"

    def think(self, queries: Sequence[str], num_thoughts: int, evidence: Any = None) -> list[list[str]]:
        raise TransientThinkerError("come back later")


def ids(found: list[NodeWithScore]) -> list[str]:
    return [result.node_id for result in found]


def by_hand(embedding: O1Embedding, texts: list[str], vector: Sequence[float]) -> list[str]:
    """Ids of all texts, best first, by plain matrix products."""
    passages = embedding.embedder.encode_document([f"number: {number}\n\n{text}" for number, text in enumerate(texts)])
    return [f"n{number}" for number in np.argsort(-(passages @ np.array(vector, dtype=np.float32)))]


def test_it_finds_what_the_thinking_query_is_nearest_to(
    index: VectorStoreIndex, embedding: O1Embedding, texts: list[str]
) -> None:
    found = O1Retriever(index, similarity_top_k=6).retrieve(QUERY)
    assert ids(found) == by_hand(embedding, texts, embedding.get_query_embedding(QUERY))
    plain = index.as_retriever(similarity_top_k=6).retrieve(QUERY)
    assert ids(found) == ids(plain)
    assert [row.score for row in found] == pytest.approx([row.score for row in plain])


@pytest.mark.parametrize("fuse", [None, "reciprocal_rank"])
def test_async_equals_sync(index: VectorStoreIndex, fuse: Any) -> None:
    retriever = O1Retriever(index, similarity_top_k=4, fusion=fuse)
    found = retriever.retrieve(QUERY)
    again = asyncio.run(retriever.aretrieve(QUERY))
    assert [(row.node_id, row.score, row.metadata) for row in again] == [
        (row.node_id, row.score, row.metadata) for row in found
    ]


def test_thoughts_are_seen_by_people_only(index: VectorStoreIndex, embedding: O1Embedding) -> None:
    (found,) = O1Retriever(index, similarity_top_k=1).retrieve(QUERY)
    thoughts = embedding.think(QUERY)
    assert found.metadata[THOUGHTS] == thoughts
    assert DEGRADED not in found.metadata
    assert f"{THOUGHTS}: {thoughts}" in found.get_content(MetadataMode.ALL)
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        content = found.get_content(mode)
        assert THOUGHTS not in content
        assert content == index.docstore.get_node(found.node_id).get_content(mode)


def test_stored_nodes_stay_as_they_are(index: VectorStoreIndex) -> None:
    before = {node_id: node.model_dump() for node_id, node in index.docstore.docs.items()}
    found = O1Retriever(index, similarity_top_k=6).retrieve(QUERY)
    found[0].metadata["mine"] = 1
    found[0].metadata[THOUGHTS].append("mine")
    assert {node_id: node.model_dump() for node_id, node in index.docstore.docs.items()} == before
    assert "mine" not in found[1].metadata[THOUGHTS]


def test_a_node_with_thoughts_is_the_same_node(index: VectorStoreIndex) -> None:
    """LlamaIndex tells nodes apart by their hash when it fuses results."""
    (found,) = O1Retriever(index, similarity_top_k=1).retrieve(QUERY)
    assert found.node.hash == index.docstore.get_node(found.node_id).hash


@pytest.mark.parametrize("with_async", [False, True])
def test_the_callers_bundle_stays_as_it_is(index: VectorStoreIndex, with_async: bool) -> None:
    retriever, bundle = O1Retriever(index), QueryBundle(QUERY)
    found = asyncio.run(retriever.aretrieve(bundle)) if with_async else retriever.retrieve(bundle)
    assert bundle == QueryBundle(QUERY)
    assert ids(found) == ids(retriever.retrieve(QUERY))


def test_a_vector_that_is_there_already_is_used(index: VectorStoreIndex, embedding: O1Embedding) -> None:
    vector = embedding.get_text_embedding("number: 3\n\nTea was traded along the silk road.")
    (found,) = O1Retriever(index, similarity_top_k=1, thinker=Unavailable()).retrieve(
        QueryBundle(QUERY, embedding=vector)
    )
    assert (found.node_id, found.metadata[THOUGHTS]) == ("n3", [])
    assert found.score == pytest.approx(1.0, abs=1e-5)


def test_texts_of_a_bundle_are_pooled(index: VectorStoreIndex, embedding: O1Embedding, texts: list[str]) -> None:
    bundle = QueryBundle(QUERY, custom_embedding_strs=["Who wrote?", "Who danced?"])
    found = O1Retriever(index, similarity_top_k=6).retrieve(bundle)
    vectors = [embedding.get_query_embedding(text) for text in bundle.embedding_strs]
    assert ids(found) == by_hand(embedding, texts, base.unit_mean(vectors))
    assert found[0].metadata[THOUGHTS] == [*embedding.think("Who wrote?"), *embedding.think("Who danced?")]


def test_fused_lists_of_single_thoughts(index: VectorStoreIndex, embedding: O1Embedding, texts: list[str]) -> None:
    found = O1Retriever(index, similarity_top_k=6, fusion="reciprocal_rank").retrieve(QUERY)
    query = embedding.get_query_embedding_with_thoughts(QUERY)
    lists = [by_hand(embedding, texts, vector) for vector in (query.embedding, *query.thought_embeddings)]
    assert len(lists) == 4
    scores = {node: sum(1 / (61 + ranking.index(node)) for ranking in lists) for node in lists[0]}
    assert {result.node_id: result.score for result in found} == pytest.approx(scores)
    assert [result.score for result in found] == sorted(scores.values(), reverse=True)


def test_fusing_without_thoughts_is_one_list(index: VectorStoreIndex) -> None:
    fused = O1Retriever(index, similarity_top_k=2, fusion="reciprocal_rank").retrieve(QUERY, num_thoughts=0)
    assert ids(fused) == ids(O1Retriever(index, similarity_top_k=2).retrieve(QUERY, num_thoughts=0))
    assert [result.score for result in fused] == pytest.approx([1 / 61, 1 / 62])


def test_each_query_may_have_its_own_wishes(index: VectorStoreIndex, embedding: O1Embedding) -> None:
    retriever = O1Retriever(index, similarity_top_k=1)
    found = retriever.retrieve(QUERY, num_thoughts=2, similarity_top_k=6, filters=EVEN)
    assert set(ids(found)) == {"n2", "n4"}
    assert found[0].metadata[THOUGHTS] == embedding.think(QUERY)[:2]
    bundle = O1QueryBundle(QUERY, num_thoughts=2, similarity_top_k=6, filters=EVEN)
    again = asyncio.run(retriever.aretrieve(bundle))
    assert (ids(again), again[0].metadata) == (ids(found), found[0].metadata)
    changed = retriever.retrieve(bundle, num_thoughts=1)
    assert (len(changed), len(changed[0].metadata[THOUGHTS])) == (2, 1)
    assert bundle == O1QueryBundle(QUERY, num_thoughts=2, similarity_top_k=6, filters=EVEN)
    assert len(retriever.retrieve(QUERY)) == 1


def test_settings_of_the_retriever(index: VectorStoreIndex, embedding: O1Embedding) -> None:
    found = O1Retriever(index, num_thoughts=1, similarity_top_k=6, filters=EVEN).retrieve(QUERY)
    assert set(ids(found)) == {"n2", "n4"}
    assert found[0].metadata[THOUGHTS] == embedding.think(QUERY)[:1]
    assert embedding.num_thoughts is None


def test_the_retriever_s_thinker_wins(index: VectorStoreIndex, make: Make) -> None:
    of_a, of_b = RecordedThoughts({QUERY: THOUGHTS_OF_A}), RecordedThoughts({QUERY: THOUGHTS_OF_B})
    embedding = make(thinker=of_a)
    (found,) = O1Retriever(index, embedding=embedding, similarity_top_k=1).retrieve(QUERY)
    assert found.metadata[THOUGHTS] == THOUGHTS_OF_A
    (found,) = O1Retriever(index, embedding=embedding, thinker=of_b, similarity_top_k=1).retrieve(QUERY)
    assert found.metadata[THOUGHTS] == THOUGHTS_OF_B
    assert embedding.thinker is of_a


def test_a_language_model_thinks(index: VectorStoreIndex, scripted: Any) -> None:
    (found,) = O1Retriever(index, thinker=scripted(), num_thoughts=2, similarity_top_k=1).retrieve(QUERY)
    assert found.metadata[THOUGHTS] == [f"<{QUERY}> Write", f"<{QUERY}> Reason"]


def test_degradation_is_seen(index: VectorStoreIndex) -> None:
    retriever = O1Retriever(index, thinker=Unavailable(), similarity_top_k=2)
    found = retriever.retrieve(QUERY)
    assert [(row.metadata[THOUGHTS], row.metadata[DEGRADED]) for row in found] == [([], True)] * 2
    assert ids(found) == ids(O1Retriever(index, num_thoughts=0, similarity_top_k=2).retrieve(QUERY))
    assert asyncio.run(retriever.aretrieve(QUERY))[0].metadata[DEGRADED]
    assert DEGRADED not in found[0].get_content(MetadataMode.LLM)


def test_a_thinker_that_failed_for_good(index: VectorStoreIndex) -> None:
    with pytest.raises(ThinkerError, match="0 thoughts are recorded"):
        O1Retriever(index, thinker=RecordedThoughts({})).retrieve(QUERY)


def test_other_retrievers_on_the_way_cannot_touch_the_bundle(index: VectorStoreIndex, embedding: O1Embedding) -> None:
    """LlamaIndex's own one writes its vector into the bundle that it is given."""
    leads = IndexNode(text="Bees dance.", index_id="more", obj=index.as_retriever(similarity_top_k=2))
    retriever, bundle = O1Retriever(VectorStoreIndex(objects=[leads], embed_model=embedding)), QueryBundle(QUERY)
    assert ids(retriever.retrieve(bundle)) == ids(index.as_retriever(similarity_top_k=2).retrieve(QUERY))
    assert bundle == QueryBundle(QUERY)


def test_callbacks_hear_of_it(embedding: O1Embedding) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    index = VectorStoreIndex([TextNode(text="a")], embed_model=embedding, callback_manager=CallbackManager([handler]))
    found = O1Retriever(index).retrieve(QUERY)
    ((_, end),) = handler.get_event_pairs(CBEventType.RETRIEVE)
    assert end.payload is not None and end.payload[EventPayload.NODES] == found
    assert len(handler.get_event_pairs(CBEventType.EMBEDDING)) == 2  # the text and the query


def test_index_nodes_lead_on(embedding: O1Embedding) -> None:
    leads = IndexNode(text="Bees dance.", index_id="more", obj=TextNode(text="All about bees.", id_="more"))
    index = VectorStoreIndex(objects=[leads], embed_model=embedding)
    assert ids(O1Retriever(index).retrieve(QUERY)) == ["more"]


# What is refused.


@pytest.mark.parametrize(
    ("query", "kind", "message"),
    [
        (None, InvalidTypeError, "must be a str or a QueryBundle, got NoneType"),
        (["Why?"], InvalidTypeError, "got list"),
        ("", InvalidInputError, "The query is empty"),
        ("  \n", InvalidInputError, "The query is empty"),
        (QueryBundle(""), InvalidInputError, "The query is empty"),
        (QueryBundle("Why?", custom_embedding_strs=[]), InvalidInputError, "The query is empty"),
        (QueryBundle("Why?", custom_embedding_strs=["a", " "]), InvalidInputError, "query 0 is empty"),
        (QueryBundle("Why?", custom_embedding_strs=["a", None]), InvalidTypeError, "query 0 is NoneType"),
    ],
)
def test_bad_queries(index: VectorStoreIndex, query: Any, kind: type[Exception], message: str) -> None:
    retriever = O1Retriever(index)
    with pytest.raises(kind, match=message):
        retriever.retrieve(query)
    with pytest.raises(kind, match=message):
        asyncio.run(retriever.aretrieve(query))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_thoughts": -1}, "num_thoughts must be at least 0"),
        ({"similarity_top_k": 0}, "similarity_top_k must be at least 1"),
        ({"filters": {"number": 2}}, "filters must be MetadataFilters, got dict"),
    ],
)
def test_bad_wishes(index: VectorStoreIndex, settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        O1Retriever(index, **settings)
    with pytest.raises((InvalidInputError, InvalidTypeError), match=message):
        O1Retriever(index).retrieve(QUERY, **settings)
    with pytest.raises((InvalidInputError, InvalidTypeError), match=message):
        O1QueryBundle(QUERY, **settings)


def test_bad_arguments(index: VectorStoreIndex) -> None:
    with pytest.raises(TypeError, match="similarity_topk"):
        O1Retriever(index, similarity_topk=3)  # type: ignore[call-arg]
    with pytest.raises(InvalidInputError, match=r"vector_store_query_mode.*known are default, sparse, hybrid"):
        O1Retriever(index, vector_store_query_mode="dense")
    with pytest.raises(InvalidTypeError, match="thinker must be a language model"):
        O1Retriever(index, thinker="gpt-4")
    with pytest.raises(InvalidInputError, match="fusion must be None or 'reciprocal_rank', got 'rrf'"):
        O1Retriever(index, fusion="rrf")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="lexical_weight must be a finite number"):
        O1Retriever(index, lexical_weight=-1.0)
    with pytest.raises(InvalidInputError, match="fetch_k must be at least 1"):
        O1Retriever(index, fetch_k=0)
    with pytest.raises(InvalidTypeError, match=r"lexical must be a retriever.*got bool"):
        O1Retriever(index, lexical=True)  # type: ignore[arg-type]
    for wrong in (None, "index", [TextNode(text="a")]):
        with pytest.raises(InvalidTypeError, match="Pass a VectorStoreIndex or a vector store"):
            O1Retriever(wrong)  # type: ignore[arg-type]


def test_an_index_that_embeds_otherwise(embedding: O1Embedding) -> None:
    index = VectorStoreIndex([TextNode(text="a")], embed_model=MockEmbedding(32))
    with pytest.raises(InvalidInputError, match=r"by MockEmbedding: pass embedding=O1Embedding"):
        O1Retriever(index)
    assert len(O1Retriever(index, embedding=embedding).retrieve(QUERY)) == 1  # said on purpose


def test_a_bare_store_needs_its_texts_and_an_embedding(embedding: O1Embedding) -> None:
    with pytest.raises(InvalidInputError, match="pass embedding="):
        O1Retriever(SimpleVectorStore())
    with pytest.raises(InvalidInputError, match="pass the VectorStoreIndex"):
        O1Retriever(SimpleVectorStore(), embedding=embedding)


def test_a_store_of_another_dimension(embedding: O1Embedding) -> None:
    index = VectorStoreIndex([TextNode(text="a")], embed_model=MockEmbedding(8))
    retriever = O1Retriever(index, embedding=embedding)
    for ask in (retriever.retrieve, lambda query: asyncio.run(retriever.aretrieve(query))):
        with pytest.raises(FingerprintMismatchError, match="dimension 8, this model makes 32"):
            ask(QUERY)


class Away(SimpleVectorStore):
    """A store that is not there."""

    def query(self, query: Any, **kwargs: Any) -> Any:
        raise ConnectionRefusedError("connection refused")


class AwayAsync(Away):
    """Has an async method of its own."""

    async def aquery(self, query: Any, **kwargs: Any) -> Any:
        raise ConnectionRefusedError("connection refused")


@pytest.mark.parametrize("kind", [Away, AwayAsync])
def test_a_store_that_does_not_answer(embedding: O1Embedding, kind: type[Away]) -> None:
    context = StorageContext.from_defaults(vector_store=kind())
    retriever = O1Retriever(VectorStoreIndex([TextNode(text="a")], embed_model=embedding, storage_context=context))
    for ask in (retriever.retrieve, lambda query: asyncio.run(retriever.aretrieve(query))):
        with pytest.raises(VectorStoreError, match=rf"{kind.__name__} did not answer .* dimension 32 .*refused"):
            ask(QUERY)


def test_an_index_of_another_model(
    index: VectorStoreIndex, make_embedder: Callable[..., O1Embedder], tmp_path: Any
) -> None:
    make_embedder(seed=1).save_pretrained(tmp_path / "other")
    other = O1Embedding(model_name=str(tmp_path / "other"))
    with pytest.raises(FingerprintMismatchError, match="use one model for both, or index again"):
        O1Retriever(index, embedding=other).retrieve(QUERY)


def test_the_check_comes_once_and_not_before_it_is_needed(
    index: VectorStoreIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[Any] = []

    def check(*args: Any) -> bool:
        checks.append(args)
        return True

    monkeypatch.setattr("llama_index.retrievers.o1.base.check_index", check)
    retriever = O1Retriever(index)
    assert checks == []
    retriever.retrieve(QUERY)
    asyncio.run(retriever.aretrieve(QUERY))
    assert checks == [(index, retriever.embedding)]


def test_follows_the_convention_of_retrievers() -> None:
    assert "BaseRetriever" in [parent.__name__ for parent in O1Retriever.__mro__]
