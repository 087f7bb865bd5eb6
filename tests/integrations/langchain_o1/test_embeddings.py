"""O1Embeddings by itself: what it computes, refuses, shares, pickles and leaves free. With a tiny random checkpoint."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_o1 import O1Embeddings
from pydantic import ValidationError

from o1_retriever import O1Embedder, ThinkingConfig, shared_models
from o1_retriever.errors import CheckpointError, InvalidInputError, InvalidTypeError, StorageError
from o1_retriever.thinking import SelfThinker

QUERY = "Who wrote the first program?"


@pytest.fixture
def thinking_counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches of queries that the model itself thinks about."""
    sizes: list[int] = []
    plain = SelfThinker.think

    def count(self: SelfThinker, queries: list[str], *args: Any) -> Any:
        sizes.append(len(queries))
        return plain(self, queries, *args)

    monkeypatch.setattr(SelfThinker, "think", count)
    return sizes


def test_texts_are_embedded_as_they_are(embeddings: O1Embeddings, tiny: O1Embedder, texts: list[str]) -> None:
    vectors = embeddings.embed_documents(texts)
    assert isinstance(embeddings, Embeddings)
    assert all(type(vector) is list and type(vector[0]) is float for vector in vectors)
    np.testing.assert_allclose(vectors, tiny.encode_document(texts), atol=1e-6)


def test_queries_are_thought_about(embeddings: O1Embeddings, tiny: O1Embedder) -> None:
    expected = tiny.encode_query([QUERY], return_thoughts=True)
    found = embeddings.embed_query_with_thoughts(QUERY)
    assert type(found.embedding) is list and type(found.embedding[0]) is float
    assert found.thoughts == expected.thoughts[0] == embeddings.think(QUERY)
    assert len(found.thoughts) == len(found.thought_embeddings) == 3
    assert not found.degraded
    np.testing.assert_allclose(found.embedding, expected.vectors[0], atol=1e-6)
    np.testing.assert_allclose(found.thought_embeddings, expected.thought_vectors[0], atol=1e-6)
    assert embeddings.embed_query(QUERY) == found.embedding


def test_settings_reach_the_engine(tiny_folder: str, tiny: O1Embedder) -> None:
    settings: dict[str, Any] = {
        "num_thoughts": 2, "temperature": 0.7, "top_p": 0.5, "top_k": 9, "max_new_tokens": 5, "seed": 4,
    }  # fmt: skip
    found = O1Embeddings(model_name=tiny_folder, **settings).embed_query_with_thoughts(QUERY)
    expected = tiny.encode_query([QUERY], thinking=ThinkingConfig(**settings), return_thoughts=True)
    assert found.thoughts == expected.thoughts[0]
    np.testing.assert_allclose(found.embedding, expected.vectors[0], atol=1e-6)


def test_without_thoughts_and_for_one_call(embeddings: O1Embeddings, tiny: O1Embedder) -> None:
    alone = embeddings.embed_query_with_thoughts(QUERY, num_thoughts=0)
    np.testing.assert_allclose(alone.embedding, tiny.encode_query(QUERY, 0), atol=1e-6)
    assert (alone.thoughts, len(alone.thought_embeddings), alone.degraded) == ([], 1, False)
    two = asyncio.run(embeddings.aembed_query_with_thoughts(QUERY, num_thoughts=2))
    assert two.thoughts == embeddings.think(QUERY)[:2]
    with pytest.raises(InvalidInputError, match="num_thoughts"):
        embeddings.embed_query_with_thoughts(QUERY, num_thoughts=-1)


def test_several_queries_at_once(embeddings: O1Embeddings, texts: list[str]) -> None:
    together = embeddings.embed_queries_with_thoughts(texts)
    assert [row.query for row in together] == texts
    assert [row.thoughts for row in together] == [embeddings.think(text) for text in texts]
    assert embeddings.embed_queries_with_thoughts([]) == []
    with pytest.raises(InvalidTypeError, match="list of queries"):
        embeddings.embed_queries_with_thoughts("one")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_thougths": 3}, "num_thougths"),
        ({"num_thoughts": -1}, "num_thoughts"),
        ({"top_p": 0.0}, "top_p"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_wrong_arguments(embeddings: O1Embeddings, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        O1Embeddings(**arguments)
    ((name, value),) = arguments.items()
    with pytest.raises(ValidationError, match=said):
        setattr(embeddings, name, value)


def test_a_thinker_of_the_wrong_type() -> None:
    for value in ("gpt-5", 3, O1Embeddings):
        with pytest.raises(InvalidTypeError, match="thinker must be None"):
            O1Embeddings(thinker=value)


@pytest.mark.parametrize("query", [None, 3, ["a"], b"a"])
def test_queries_of_the_wrong_type(embeddings: O1Embeddings, query: Any) -> None:
    with pytest.raises(InvalidTypeError, match="must be a str"):
        embeddings.embed_query(query)
    with pytest.raises(InvalidTypeError, match="must be a str"):
        asyncio.run(embeddings.aembed_query(query))


@pytest.mark.parametrize("given", [None, "one text", [None], ["a", 3]])
def test_texts_of_the_wrong_type(embeddings: O1Embeddings, given: Any) -> None:
    with pytest.raises(InvalidTypeError, match="str"):
        embeddings.embed_documents(given)


@pytest.mark.parametrize("empty", ["", " \n\t "])
def test_empty_texts_are_named(embeddings: O1Embeddings, empty: str) -> None:
    with pytest.raises(InvalidInputError, match="query 0 is empty"):
        embeddings.embed_query(empty)
    with pytest.raises(InvalidInputError, match="text 1 is empty"):
        embeddings.embed_documents(["a", empty])
    with pytest.raises(InvalidInputError, match="query 0 is empty"):
        asyncio.run(embeddings.aembed_query(empty))


def test_no_texts_are_no_vectors(embeddings: O1Embeddings) -> None:
    assert embeddings.embed_documents([]) == []
    assert asyncio.run(embeddings.aembed_documents([])) == []


def test_ten_thousand_texts(embeddings: O1Embeddings) -> None:
    texts = [str(number % 50) for number in range(10_000)]
    vectors = embeddings.embed_documents(texts)
    assert len(vectors) == 10_000
    np.testing.assert_allclose(vectors[:50], vectors[-50:], atol=1e-5)


def test_nothing_is_loaded_before_it_is_used() -> None:
    embeddings = O1Embeddings(model_name="./no-such-folder")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="no-such-folder"):
            embeddings.embed_query(QUERY)
    with pytest.raises(CheckpointError, match="no-such-folder"):
        asyncio.run(embeddings.aembed_query(QUERY))


def test_pickles_and_copies_load_for_themselves(tiny_folder: str, tmp_path: Path) -> None:
    embeddings = O1Embeddings(model_name=tiny_folder, num_thoughts=2, thought_cache=str(tmp_path / "thoughts"))
    thoughts = embeddings.embed_query_with_thoughts(QUERY).thoughts
    pickled = pickle.dumps(embeddings)
    assert len(pickled) < 10_000
    for again in (pickle.loads(pickled), copy.deepcopy(embeddings), embeddings.model_copy()):
        assert again.model_dump() == embeddings.model_dump()
        assert again.embed_query_with_thoughts(QUERY).thoughts == thoughts
        assert again.embedder is not embeddings.embedder
        assert again.embedder.model is embeddings.embedder.model  # one set of weights
    assert embeddings.model_copy(update={"num_thoughts": 1}).think(QUERY) == thoughts[:1]


def test_a_setting_changed_later_counts(embeddings: O1Embeddings, chat_model: Callable[..., Any]) -> None:
    own = embeddings.think(QUERY)
    embeddings.num_thoughts = 1
    assert embeddings.think(QUERY) == own[:1]
    embeddings.thinker = chat_model()
    assert embeddings.think(QUERY)[0].startswith(f"<{QUERY}>")
    embeddings.thinker = None
    assert embeddings.think(QUERY) == own[:1]


def test_one_model_per_process(tiny_folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_models, "_models", {})
    loads: list[str] = []
    plain = O1Embedder.from_pretrained

    def load(name: str, **kwargs: Any) -> O1Embedder:
        loads.append(name)
        return plain(name, **kwargs)

    monkeypatch.setattr(O1Embedder, "from_pretrained", load)
    several = [O1Embeddings(model_name=tiny_folder, num_thoughts=number) for number in range(4)]
    assert loads == []
    threads = [threading.Thread(target=one.embed_query, args=(QUERY,)) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [tiny_folder]
    assert several[0].embedder is several[3].embedder


def test_async_equals_sync_in_any_loop(embeddings: O1Embeddings, texts: list[str]) -> None:
    for _ in range(2):  # the first loop is closed by then
        assert asyncio.run(embeddings.aembed_documents(texts)) == embeddings.embed_documents(texts)
        np.testing.assert_allclose(
            asyncio.run(embeddings.aembed_query(QUERY)), embeddings.embed_query(QUERY), atol=1e-6
        )


def test_tasks_at_the_same_time_think_together(
    embeddings: O1Embeddings, texts: list[str], thinking_counted: list[int]
) -> None:
    alone = [embeddings.embed_query_with_thoughts(text) for text in texts]
    assert thinking_counted == [1] * len(texts)
    thinking_counted.clear()

    async def ask() -> list[Any]:
        return await asyncio.gather(*(embeddings.aembed_query_with_thoughts(text) for text in texts))

    found = asyncio.run(ask())
    assert [row.thoughts for row in found] == [row.thoughts for row in alone]
    np.testing.assert_allclose([row.embedding for row in found], [row.embedding for row in alone], atol=1e-5)
    assert sum(thinking_counted) == len(texts) > len(thinking_counted)


def test_async_leaves_the_event_loop_free(
    tiny_folder: str, embeddings: O1Embeddings, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine waits for the loop to tick: were it called on the loop's own thread, nothing would tick."""
    ticked = threading.Event()

    def waiting(plain: Callable[..., Any]) -> Callable[..., Any]:
        def wait(*args: Any, **kwargs: Any) -> Any:
            assert ticked.wait(20), "the event loop stood still"
            return plain(*args, **kwargs)

        return wait

    class WaitingThinker:
        fingerprint = "waiting"

        def think(self, queries: list[str], num_thoughts: int, evidence: Any = None) -> list[list[str]]:
            assert ticked.wait(20), "the event loop stood still"
            return [["a thought"] * num_thoughts for _ in queries]

    monkeypatch.setattr(SelfThinker, "think", waiting(SelfThinker.think))
    monkeypatch.setattr(O1Embedder, "encode_document", waiting(O1Embedder.encode_document))
    monkeypatch.setattr(shared_models.O1Embedder, "from_pretrained", waiting(O1Embedder.from_pretrained))
    monkeypatch.setattr(shared_models, "_models", {})
    other = O1Embeddings(model_name=tiny_folder, thinker=WaitingThinker())

    async def tick() -> None:
        await asyncio.sleep(0.02)
        ticked.set()

    async def ask() -> None:
        for call in (
            O1Embeddings(model_name=tiny_folder).aembed_query(QUERY),  # loads
            embeddings.aembed_query(QUERY),
            embeddings.aembed_documents(texts),
            other.aembed_query(QUERY),
        ):
            ticked.clear()
            await asyncio.gather(call, tick())

    asyncio.run(ask())


def test_thoughts_are_cached_in_a_file(tiny_folder: str, tmp_path: Path, thinking_counted: list[int]) -> None:
    own = O1Embeddings(model_name=tiny_folder).think(QUERY)
    thinking_counted.clear()
    path = str(tmp_path / "thoughts.sqlite")
    for seed, thought in ((0, 1), (0, 0), (1, 1)):
        embeddings = O1Embeddings(model_name=tiny_folder, seed=seed, thought_cache=path)
        found = [embeddings.embed_query_with_thoughts(QUERY), asyncio.run(embeddings.aembed_query_with_thoughts(QUERY))]
        assert found[0].thoughts == found[1].thoughts
        assert (found[0].thoughts == own) is (seed == 0)
        assert len(thinking_counted) == thought
        thinking_counted.clear()


def test_a_file_that_is_no_cache(tiny_folder: str, tmp_path: Path) -> None:
    path = tmp_path / "thoughts.sqlite"
    path.write_bytes(b"no database" * 1000)
    embeddings = O1Embeddings(model_name=tiny_folder, thought_cache=str(path))
    with pytest.raises(StorageError, match=r"thoughts\.sqlite"):
        embeddings.embed_query(QUERY)
    assert path.read_bytes() == b"no database" * 1000
