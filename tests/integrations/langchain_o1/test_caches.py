"""CacheBackedEmbeddings with the stores of O1Embeddings: nothing is ever taken for something else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_classic.storage import LocalFileStore
from langchain_core.stores import InMemoryByteStore
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_o1 import DegradedVector, O1Embeddings, O1Retriever

from o1_retriever import O1Embedder

SAME = "Bees dance."


@pytest.fixture
def bytes_() -> InMemoryByteStore:
    return InMemoryByteStore()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts and queries that reach the engine."""
    seen: list[str] = []
    for name in ("encode_document", "encode_query"):
        plain = getattr(O1Embedder, name)

        def count(self: O1Embedder, given: Any, *args: Any, _plain: Any = plain, **kwargs: Any) -> Any:
            seen.extend([given] if isinstance(given, str) else given)
            return _plain(self, given, *args, **kwargs)

        monkeypatch.setattr(O1Embedder, name, count)
    return seen


def cached(embeddings: O1Embeddings, bytes_: Any) -> CacheBackedEmbeddings:
    return CacheBackedEmbeddings(
        embeddings, embeddings.passage_cache(bytes_), query_embedding_store=embeddings.query_cache(bytes_)
    )


def test_query_and_text_of_the_same_words_are_kept_apart(
    embeddings: O1Embeddings, bytes_: InMemoryByteStore, counted: list[str]
) -> None:
    text, query = embeddings.embed_documents([SAME])[0], embeddings.embed_query(SAME)
    assert not np.allclose(text, query)
    counted.clear()
    for _ in range(2):
        backed = cached(embeddings, bytes_)
        assert backed.embed_documents([SAME]) == [text]
        assert backed.embed_query(SAME) == query
        assert asyncio.run(backed.aembed_documents([SAME])) == [text]
        assert asyncio.run(backed.aembed_query(SAME)) == query
    assert counted == [SAME, SAME]  # once as a text, once as a query
    assert len(list(bytes_.yield_keys())) == 2


def test_other_weights_get_other_entries(
    embeddings: O1Embeddings, other_folder: str, bytes_: InMemoryByteStore
) -> None:
    other = O1Embeddings(model_name=other_folder)
    for each in (embeddings, other):
        assert cached(each, bytes_).embed_documents([SAME]) == each.embed_documents([SAME])
        assert cached(each, bytes_).embed_query(SAME) == each.embed_query(SAME)
    assert embeddings.embed_documents([SAME]) != other.embed_documents([SAME])
    assert len(list(bytes_.yield_keys())) == 4


def test_settings_of_the_query_side_leave_texts_where_they_are(
    embeddings: O1Embeddings, bytes_: InMemoryByteStore, counted: list[str]
) -> None:
    backed = cached(embeddings, bytes_)
    backed.embed_documents([SAME])
    first = backed.embed_query(SAME)
    embeddings.num_thoughts = 1
    assert backed.embed_query(SAME) != first  # the same store notices
    assert backed.embed_query(SAME) == embeddings.embed_query(SAME)
    counted.clear()
    backed.embed_documents([SAME])
    assert counted == []


def test_namespaces(
    tiny_folder: str, embeddings: O1Embeddings, other_folder: str, chat_model: Callable[..., Any]
) -> None:
    def names(**settings: Any) -> tuple[str, str]:
        made = O1Embeddings(**{"model_name": tiny_folder, **settings})
        return made.passage_namespace, made.query_namespace

    passage, query = names()
    assert passage != query
    assert names(device="cpu") == (passage, query)
    assert all(theirs != ours for theirs, ours in zip(names(model_name=other_folder), (passage, query), strict=True))
    for settings in ({"num_thoughts": 0}, {"seed": 1}, {"temperature": 0.5}, {"thinker": chat_model()}):
        assert names(**settings)[0] == passage
        assert names(**settings)[1] != query


def test_the_namespace_of_texts_is_safe_in_a_bytes_store(embeddings: O1Embeddings, bytes_: InMemoryByteStore) -> None:
    backed = CacheBackedEmbeddings.from_bytes_store(
        embeddings, bytes_, namespace=embeddings.passage_namespace, key_encoder="sha256"
    )
    assert backed.embed_documents([SAME]) == backed.embed_documents([SAME]) == embeddings.embed_documents([SAME])
    assert backed.embed_query(SAME) == embeddings.embed_query(SAME)


def test_keys_are_file_names(embeddings: O1Embeddings, tmp_path: Path) -> None:
    backed = cached(embeddings, LocalFileStore(tmp_path))
    assert backed.embed_query(SAME) == backed.embed_query(SAME)
    assert len(list(tmp_path.iterdir())) == 1


def test_degraded_vectors_are_not_kept(
    tiny_folder: str, bytes_: InMemoryByteStore, chat_model: Callable[..., Any]
) -> None:
    model = chat_model(errors=[TimeoutError("late")])
    embeddings = O1Embeddings(model_name=tiny_folder, thinker=model, num_thoughts=1)
    backed = cached(embeddings, bytes_)
    first = backed.embed_query(SAME)
    assert isinstance(first, DegradedVector)
    assert isinstance(first, list)
    assert list(bytes_.yield_keys()) == []
    second = backed.embed_query(SAME)
    assert type(second) is list
    assert second != first
    assert backed.embed_query(SAME) == second
    assert len(model.seen) == 2


@pytest.fixture
def asked(tiny_folder: str, chat_model: Callable[..., Any], texts: list[str], bytes_: InMemoryByteStore) -> Any:
    """A retriever over a store with cached embeddings, and the chat model that thinks for them."""
    model = chat_model()
    embeddings = O1Embeddings(model_name=tiny_folder, thinker=model, num_thoughts=2)
    store = InMemoryVectorStore(cached(embeddings, bytes_))
    store.add_texts(texts)
    return O1Retriever(vectorstore=store, k=2, fusion="reciprocal_rank"), model


def test_the_retriever_asks_the_query_cache_first(asked: Any, bytes_: InMemoryByteStore) -> None:
    retriever, model = asked
    first = retriever.invoke(SAME)
    assert len(model.seen) == 2
    for again in (retriever.invoke(SAME), asyncio.run(retriever.ainvoke(SAME))):
        assert again == first
        assert len(again[0].metadata["o1_thoughts"]) == 2
    assert len(model.seen) == 2, "nobody was paid again"
    assert asyncio.run(retriever.ainvoke("Another?")) == retriever.invoke("Another?")
    assert len(model.seen) == 4
    retriever.vectorstore.embeddings.query_embedding_store.mdelete([SAME])
    retriever.invoke(SAME)
    assert len(model.seen) == 6


def test_the_retriever_s_cache_knows_whose_entries_it_holds(
    asked: Any, chat_model: Callable[..., Any], other_folder: str, bytes_: InMemoryByteStore
) -> None:
    retriever, model = asked
    retriever.invoke(SAME)
    one = retriever.invoke(SAME, num_thoughts=1)
    assert len(one[0].metadata["o1_thoughts"]) == 1
    other = chat_model(delay_s=0.001)  # another model to whoever names it
    O1Retriever(vectorstore=retriever.vectorstore, thinker=other, k=2).invoke(SAME)
    named = O1Embeddings(model_name=other_folder, thinker=model, num_thoughts=2)
    assert (len(model.seen), len(other.seen)) == (3, 2)
    O1Retriever(vectorstore=retriever.vectorstore, embeddings=named).invoke(SAME)  # these have no cache
    O1Retriever(vectorstore=retriever.vectorstore, embeddings=named).invoke(SAME)
    assert len(model.seen) == 7
    assert retriever.invoke(SAME, num_thoughts=1) == one
    assert len(model.seen) == 7


def test_the_retriever_keeps_nothing_degraded(asked: Any) -> None:
    retriever, model = asked
    model.errors.extend([TimeoutError("late")] * 2)
    assert retriever.invoke(SAME)[0].metadata["o1_degraded"]
    assert "o1_degraded" not in asyncio.run(retriever.ainvoke(SAME))[0].metadata


def test_the_retriever_passes_by_caches_of_bare_texts(
    embeddings: O1Embeddings, texts: list[str], bytes_: InMemoryByteStore
) -> None:
    backed = CacheBackedEmbeddings.from_bytes_store(
        embeddings, bytes_, namespace="any", query_embedding_cache=True, key_encoder="sha256"
    )
    store = InMemoryVectorStore(backed)
    store.add_texts(texts)  # with queries in the same cache, this text would be its own query
    found = O1Retriever(vectorstore=store, k=1).invoke(texts[0])
    assert found[0].metadata["o1_thoughts"] == embeddings.think(texts[0])
    assert len(list(bytes_.yield_keys())) == len(texts)


def test_a_cache_forgets_and_lists(embeddings: O1Embeddings, bytes_: InMemoryByteStore) -> None:
    texts, queries = embeddings.passage_cache(bytes_), embeddings.query_cache(bytes_)
    texts.mset([("a", [0.5, -1.0]), ("b", [1.0])])
    queries.mset([("a", [0.25])])
    assert texts.mget(["a", "missing", "b", "\ud800"]) == [[0.5, -1.0], None, [1.0], None]
    assert queries.mget(["a"]) == [[0.25]]
    assert len(list(texts.yield_keys())) == 2
    assert len(list(queries.yield_keys())) == 1
    texts.mdelete(["a"])
    assert texts.mget(["a", "b"]) == [None, [1.0]]
    assert queries.mget(["a"]) == [[0.25]]
