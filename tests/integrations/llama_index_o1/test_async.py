"""Many tasks at once: the loop stays free, queries think together, loops come and go."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.embeddings.o1 import O1Embedding
from llama_index.retrievers.o1 import O1Retriever

from o1_retriever import O1Embedder
from o1_retriever.worker_threads import TEXTS

Make = Callable[..., O1Embedding]
QUERIES = [f"Why do {name} dance?" for name in ("bees", "ants", "cranes", "crabs", "swans", "mice", "newts", "owls")]
SLOW_S, TICK_S, HELD_UP_S, PATIENCE = 0.3, 0.01, 0.1, 120.0


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Thinking takes its time in whatever thread it is done; the sizes of its batches."""
    sizes: list[int] = []
    plain = O1Embedder.encode_query

    def encode(self: O1Embedder, queries: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(queries))
        time.sleep(SLOW_S)
        return plain(self, queries, *args, **kwargs)

    monkeypatch.setattr(O1Embedder, "encode_query", encode)
    return sizes


class Blocking:
    """A thinker that takes its time and has no async method."""

    fingerprint = "blocking"

    def think(self, queries: Sequence[str], num_thoughts: int, evidence: Any = None) -> list[list[str]]:
        time.sleep(SLOW_S)
        return [["They show the way."] * num_thoughts for _ in queries]


async def longest_pause(*works: Any) -> float:
    """The longest time between two ticks while the works are done."""
    pauses: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK_S)
            pauses.append(time.perf_counter() - last)
            last = time.perf_counter()

    ticking = asyncio.ensure_future(tick())
    await asyncio.gather(*works)
    ticking.cancel()
    return max(pauses)


def best_of_three(works: Callable[[], list[Any]]) -> float:
    """Other programs may hold up a loop too, but hardly three times."""
    return min(asyncio.run(longest_pause(*works())) for _ in range(3))


def test_the_loop_ticks_while_eight_queries_think(embedding: O1Embedding, slow: list[int]) -> None:
    embedding.get_text_embedding("the model is loaded")
    assert best_of_three(lambda: [embedding.aget_query_embedding(query) for query in QUERIES]) < HELD_UP_S


def test_the_loop_ticks_while_another_thinker_thinks(make: Make, slow: list[int]) -> None:
    embedding = make(thinker=Blocking())
    embedding.get_text_embedding("the model is loaded")
    assert best_of_three(lambda: [embedding.aget_query_embedding(query) for query in QUERIES]) < HELD_UP_S


def test_the_loop_ticks_while_eight_queries_are_retrieved(index: VectorStoreIndex, slow: list[int]) -> None:
    for fuse in (None, "reciprocal_rank"):
        retriever = O1Retriever(index, fusion=fuse)
        retriever.retrieve("the model is loaded")
        assert best_of_three(lambda: [retriever.aretrieve(query) for query in QUERIES]) < HELD_UP_S  # noqa: B023


def test_waiting_tasks_think_together(embedding: O1Embedding, slow: list[int]) -> None:
    async def ask() -> list[list[float]]:
        return await asyncio.gather(*(embedding.aget_query_embedding(query) for query in QUERIES))

    vectors = asyncio.run(ask())
    assert sum(slow) == len(QUERIES)
    assert len(slow) <= 3  # the first ones alone, all that came meanwhile together
    alone = [embedding.get_query_embedding(query) for query in QUERIES]
    np.testing.assert_allclose(vectors, alone, atol=1e-4)


def test_waiting_threads_think_together(embedding: O1Embedding, slow: list[int]) -> None:
    embedding.get_text_embedding("the model is loaded")
    with ThreadPoolExecutor(len(QUERIES)) as pool:
        vectors = list(pool.map(embedding.get_query_embedding, QUERIES))
    assert sum(slow) == len(QUERIES)
    assert len(slow) <= 4
    np.testing.assert_allclose(vectors, [embedding.get_query_embedding(query) for query in QUERIES], atol=1e-4)


def test_other_thinkers_are_asked_side_by_side(make: Make) -> None:
    embedding = make(thinker=Blocking())
    embedding.get_query_embedding("the model is loaded")

    async def ask() -> None:
        await asyncio.gather(*(embedding.aget_query_embedding(query) for query in QUERIES))

    start = time.perf_counter()
    asyncio.run(ask())
    assert time.perf_counter() - start < len(QUERIES) * SLOW_S / 2


@pytest.mark.parametrize("thinker", [None, Blocking()], ids=["own", "another"])
def test_queries_never_wait_behind_texts(make: Make, thinker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No text is embedded before the query is: were they in one line, nothing would ever move."""
    embedding, answered, at_work = make(thinker=thinker), threading.Event(), list[str]()
    embedding.get_query_embedding("the model is loaded")
    plain = O1Embedder.encode_document

    def encode(self: O1Embedder, *args: Any, **kwargs: Any) -> Any:
        at_work.append(threading.current_thread().name)
        assert answered.wait(PATIENCE)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(O1Embedder, "encode_document", encode)

    async def ask() -> int:
        texts = [asyncio.ensure_future(embedding.aget_text_embedding_batch([f"text {i}"] * 2)) for i in range(80)]
        while not at_work:
            await asyncio.sleep(0.001)
        vector = await asyncio.wait_for(embedding.aget_query_embedding("Why?"), PATIENCE / 2)
        answered.set()
        assert all(len(rows) == 2 for rows in await asyncio.gather(*texts))
        return len(vector)

    assert asyncio.run(ask()) == 32
    assert len(set(at_work)) <= TEXTS.limit


def test_objects_outlive_their_event_loops(make: Make, index: VectorStoreIndex, async_llm: Any) -> None:
    own, by_llm, retriever = make(), make(thinker=async_llm()), O1Retriever(index)
    found = []
    for _ in range(2):
        loop = asyncio.new_event_loop()
        vectors = [loop.run_until_complete(some.aget_query_embedding(QUERIES[0])) for some in (own, by_llm)]
        nodes = loop.run_until_complete(retriever.aretrieve(QUERIES[0]))
        found.append((vectors, [node.node_id for node in nodes]))
        loop.close()
    assert found[0] == found[1]


def test_a_closed_loop_says_so(embedding: O1Embedding) -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    work = embedding.aget_query_embedding("Why?")
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(work)
    work.close()
    assert len(embedding.get_query_embedding("Why?")) == 32


def test_a_cancelled_task_leaves_the_others_alone(embedding: O1Embedding, slow: list[int]) -> None:
    async def ask() -> list[Any]:
        tasks = [asyncio.ensure_future(embedding.aget_query_embedding(query)) for query in QUERIES[:3]]
        await asyncio.sleep(SLOW_S / 3)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, cancelled, third = asyncio.run(ask())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert len(first) == len(third) == 32
