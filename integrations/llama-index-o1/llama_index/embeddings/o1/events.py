"""What an `O1Embedding` tells LlamaIndex's instrumentation and callbacks. Knows no model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llama_index.core.instrumentation as instrument
from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.callbacks.schema import CBEventType, EventPayload
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent

from o1_retriever.usage import Usage

dispatcher = instrument.get_dispatcher(__name__)  # type: ignore[attr-defined]


class O1QueryEvent(BaseEvent):
    """A query was thought about and embedded.

    Attributes:
        query: its text.
        thoughts: what its vector was made with; empty for a query embedded alone.
        seconds: that thinking and embedding took; of queries embedded together, each one's share.
        degraded: the thinker was unavailable, and the query was embedded without thoughts.
        cached: thoughts and vector come from `embeddings_cache`.
        usage: calls and tokens of a language model as the thinker; None where nothing was counted. Of queries embedded
            together the first one's event has the sum, so that sums over events are right.
    """

    query: str
    thoughts: list[str]
    seconds: float
    degraded: bool = False
    cached: bool = False
    usage: Usage | None = None

    @classmethod
    def class_name(cls) -> str:
        return "O1QueryEvent"


def tell(event: O1QueryEvent) -> None:
    """Hands the event to whoever listens."""
    dispatcher.event(event)


@contextmanager
def reported(embedding: BaseEmbedding, queries: list[str]) -> Iterator[list[Embedding]]:
    """Reports an embedding as LlamaIndex's own methods do; the vectors are put into the list that it yields."""
    settings = embedding.to_payload()
    dispatcher.event(EmbeddingStartEvent(model_dict=settings))
    vectors: list[Embedding] = []
    start: dict[str, Any] = {EventPayload.SERIALIZED: settings}
    with embedding.callback_manager.event(CBEventType.EMBEDDING, payload=start) as event:
        yield vectors
        event.on_end(payload={EventPayload.CHUNKS: queries, EventPayload.EMBEDDINGS: vectors})
    dispatcher.event(EmbeddingEndEvent(chunks=queries, embeddings=vectors))
