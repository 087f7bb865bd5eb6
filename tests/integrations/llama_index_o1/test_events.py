"""What listeners hear: LlamaIndex's own events and callbacks, and the event with query, thoughts and seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.o1 import O1Embedding, O1QueryEvent

Make = Callable[..., O1Embedding]
Heard = Callable[[], list[O1QueryEvent]]
QUERY = "Why do bees dance?"


def test_one_event_per_query(make: Make, heard: Heard) -> None:
    embedding = make()
    found = embedding.get_query_embedding_with_thoughts(QUERY)
    embedding.get_query_embedding(QUERY)
    asyncio.run(embedding.aget_query_embedding(QUERY))
    asyncio.run(embedding.aget_query_embedding_with_thoughts(QUERY))
    embedding.get_text_embedding(QUERY)
    events = heard()
    assert [(event.query, event.thoughts) for event in events] == [(QUERY, found.thoughts)] * 4
    assert all(event.seconds > 0 and event.usage is None for event in events)
    assert not any(event.degraded or event.cached for event in events)
    assert events[0].model_dump()["class_name"] == "O1QueryEvent"


def test_an_event_belongs_to_its_span(make: Make, heard: Heard) -> None:
    make().get_query_embedding(QUERY)
    assert str(heard()[0].span_id).startswith("O1Embedding.")


def test_queries_together_share_their_seconds(make: Make, heard: Heard) -> None:
    make().get_query_embeddings_with_thoughts(["a", "b", "c"])
    seconds = [event.seconds for event in heard()]
    assert len(seconds) == 3 and len(set(seconds)) == 1


def test_a_cached_query_says_so(make: Make, heard: Heard) -> None:
    embedding = make(embeddings_cache=SimpleKVStore())
    for _ in range(2):
        embedding.get_query_embedding(QUERY)
    first, second = heard()
    assert (first.cached, second.cached) == (False, True)
    assert first.thoughts == second.thoughts != []


@pytest.mark.parametrize("cache", [None, SimpleKVStore()], ids=["plain", "cached"])
def test_callbacks_hear_queries_and_texts(make: Make, cache: Any) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    embedding = make(callback_manager=CallbackManager([handler]), embeddings_cache=cache)

    async def ask() -> None:
        await embedding.aget_query_embedding_with_thoughts(QUERY)
        await embedding.aget_text_embedding_batch(["a", "b"])

    vector = embedding.get_query_embedding(QUERY)
    embedding.get_query_embedding_with_thoughts(QUERY)
    embedding.get_query_embeddings_with_thoughts([QUERY, "b"])
    embedding.get_text_embedding("a")
    asyncio.run(ask())
    ends = [payload for _, end in handler.get_event_pairs(CBEventType.EMBEDDING) if (payload := end.payload)]
    assert [payload[EventPayload.CHUNKS] for payload in ends] == [
        [QUERY],
        [QUERY],
        [QUERY, "b"],
        ["a"],
        [QUERY],
        ["a", "b"],
    ]
    assert ends[0][EventPayload.EMBEDDINGS] == ends[1][EventPayload.EMBEDDINGS] == [vector]


def test_a_failure_is_no_event(make: Make, heard: Heard) -> None:
    with pytest.raises(ValueError, match="empty"):
        make().get_query_embedding(" ")
    assert heard() == []
