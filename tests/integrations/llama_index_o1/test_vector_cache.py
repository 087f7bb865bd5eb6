"""`embeddings_cache`: what it saves, and that no entry ever answers for another side, model or setting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.o1 import O1Embedding
from llama_index.embeddings.o1.vector_cache import COLLECTION, VectorCache

from o1_retriever import O1Embedder, RecordedThoughts
from o1_retriever.errors import InvalidTypeError, TransientThinkerError

Make = Callable[..., O1Embedding]
QUERY = "Why do bees dance?"


@pytest.fixture
def worked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What reached the engine, call by call."""
    calls: list[list[str]] = []

    def spy(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: O1Embedder, texts: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append([texts] if isinstance(texts, str) else list(texts))
            return plain(self, texts, *args, **kwargs)

        return call

    for name in ("encode_query", "encode_document"):
        monkeypatch.setattr(O1Embedder, name, spy(getattr(O1Embedder, name)))
    return calls


def test_each_side_is_embedded_once(make: Make, worked: list[list[str]]) -> None:
    embedding = make(embeddings_cache=SimpleKVStore())
    query, text = embedding.get_query_embedding(QUERY), embedding.get_text_embedding(QUERY)
    assert query != text
    assert worked == [[QUERY], [QUERY]]
    assert embedding.get_query_embedding(QUERY) == query
    assert embedding.get_text_embedding(QUERY) == text
    assert embedding.get_text_embedding_batch([QUERY]) == [text]
    assert worked == [[QUERY], [QUERY]]


def test_cached_values_are_the_plain_ones(make: Make) -> None:
    plain, cached = make(), make(embeddings_cache=SimpleKVStore())
    for _ in range(2):
        assert cached.get_query_embedding_with_thoughts(QUERY) == plain.get_query_embedding_with_thoughts(QUERY)
        assert cached.get_text_embedding(QUERY) == plain.get_text_embedding(QUERY)
    assert cached.get_query_embedding_with_thoughts(QUERY).cached


def test_async_shares_the_entries(make: Make, worked: list[list[str]]) -> None:
    embedding = make(embeddings_cache=SimpleKVStore())

    async def ask() -> tuple[Any, ...]:
        found = await embedding.aget_query_embedding_with_thoughts(QUERY)
        return (
            found.embedding,
            await embedding.aget_query_embedding(QUERY),
            await embedding.aget_text_embedding(QUERY),
            (await embedding.aget_text_embedding_batch([QUERY, QUERY]))[1],
        )

    first, second, text, again = asyncio.run(ask())
    assert first == second == embedding.get_query_embedding(QUERY)
    assert text == again == embedding.get_text_embedding(QUERY)
    assert len(worked) == 2


def test_only_what_is_missing_is_embedded_together_and_once(make: Make, worked: list[list[str]]) -> None:
    embedding = make(embeddings_cache=SimpleKVStore())
    embedding.get_text_embedding("b")
    vectors = embedding.get_text_embedding_batch(["a", "b", "c", "a"])
    assert worked == [["b"], ["a", "c"]]
    assert vectors[0] == vectors[3] != vectors[1]
    assert vectors[1] == embedding.get_text_embedding("b")


@pytest.mark.parametrize(
    "changes", [{"num_thoughts": 1}, {"seed": 3}, {"thinker": RecordedThoughts({QUERY: ["a"] * 3})}]
)
def test_other_thinking_is_another_entry(make: Make, changes: dict[str, Any]) -> None:
    store = SimpleKVStore()
    first = make(embeddings_cache=store).get_query_embedding(QUERY)
    other = make(embeddings_cache=store, **changes)
    assert other.get_query_embedding(QUERY) == make(**changes).get_query_embedding(QUERY) != first
    text = make(embeddings_cache=store).get_text_embedding(QUERY)
    assert other.get_text_embedding(QUERY) == text
    assert len(store.get_all(COLLECTION)) == 3


def test_other_weights_are_another_entry(make: Make, worked: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    embedding = make(embeddings_cache=SimpleKVStore())
    embedding.get_query_embedding(QUERY), embedding.get_text_embedding(QUERY)
    monkeypatch.setattr(O1Embedder, "passage_fingerprint", "other weights")
    embedding.get_query_embedding(QUERY), embedding.get_text_embedding(QUERY)
    assert len(worked) == 4


class Moody:
    """Unavailable as long as it is told to be."""

    fingerprint = "moody"
    unavailable = True

    def think(self, queries: Sequence[str], num_thoughts: int, evidence: Any = None) -> list[list[str]]:
        if self.unavailable:
            raise TransientThinkerError("come back later")
        return [["They tell the others the way."] * num_thoughts for _ in queries]


def test_degraded_results_never_enter(make: Make) -> None:
    thinker, store = Moody(), SimpleKVStore()
    embedding = make(embeddings_cache=store, thinker=thinker)
    assert embedding.get_query_embedding_with_thoughts(QUERY).degraded
    assert asyncio.run(embedding.aget_query_embedding_with_thoughts(QUERY)).degraded
    assert not store.get_all(COLLECTION)
    thinker.unavailable = False
    assert embedding.get_query_embedding_with_thoughts(QUERY).thoughts == ["They tell the others the way."] * 3


def test_entries_of_others_are_left_alone(make: Make) -> None:
    store = SimpleKVStore()
    store.put(QUERY, {"x": [1.0]}, collection="embeddings")  # as LlamaIndex itself would write it
    embedding = make(embeddings_cache=store)
    assert embedding.get_query_embedding(QUERY) == make().get_query_embedding(QUERY)
    assert store.get_all("embeddings") == {QUERY: {"x": [1.0]}}


def test_a_cache_survives_on_disk_and_in_copies(make: Make, tmp_path: Any, worked: list[list[str]]) -> None:
    store = SimpleKVStore()
    found = make(embeddings_cache=store).get_query_embedding_with_thoughts(QUERY)
    store.persist(str(tmp_path / "cache.json"))
    again = make(embeddings_cache=SimpleKVStore.from_persist_path(str(tmp_path / "cache.json")))
    assert again.get_query_embedding_with_thoughts(QUERY) == found
    assert make(embeddings_cache=again.embeddings_cache).get_query_embedding_with_thoughts(QUERY) == found
    assert worked == [[QUERY]]


def test_to_llama_index_the_cache_is_empty(make: Make) -> None:
    embedding = make(embeddings_cache=SimpleKVStore())
    embedding.get_query_embedding(QUERY)
    cache = embedding.embeddings_cache
    assert isinstance(cache, VectorCache)
    cache.put(QUERY, {"x": [1.0]}, collection="embeddings")
    assert cache.get(QUERY, collection="embeddings") is None
    assert cache.get_all("embeddings") == {}


@pytest.mark.parametrize("wrong", [{}, "redis://localhost", 3])
def test_what_is_no_store(make: Make, embedding: O1Embedding, wrong: Any) -> None:
    with pytest.raises(InvalidTypeError, match="BaseKVStore"):
        make(embeddings_cache=wrong)
    with pytest.raises(InvalidTypeError, match="BaseKVStore"):
        embedding.embeddings_cache = wrong
    assert embedding.embeddings_cache is None
