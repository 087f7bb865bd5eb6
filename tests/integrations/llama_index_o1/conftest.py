"""Embeddings of a tiny random checkpoint, listeners, and language models that answer as they are told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import llama_index.core.instrumentation as instrument
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.schema import TextNode
from llama_index.embeddings.o1 import O1Embedding, O1QueryEvent

TEXTS = [
    "Ada Lovelace wrote the first program.",
    "Bees dance to show where flowers are.",
    "The Danube flows into the Black Sea.",
    "Tea was traded along the silk road.",
    "A pendulum keeps time.",
    "Edward Jenner made the first vaccine.",
]


class ScriptedLLM(CustomLLM):
    """Answers `<query> angle` after a while, or fails; runs in this process, as `CustomLLM`s do."""

    delay_s: float = 0.0
    error: Any = None
    answer: str | None = None
    usage: Any = None
    temperature: float = 1.0
    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _asked: list[Sequence[ChatMessage]] = PrivateAttr(default_factory=list)
    _in_flight: int = PrivateAttr(default=0)
    _peak: int = PrivateAttr(default=0)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="scripted", is_chat_model=True)

    @property
    def asked(self) -> list[Sequence[ChatMessage]]:
        """The conversations, in order of arrival."""
        return self._asked

    @property
    def peak(self) -> int:
        """Calls in flight at most."""
        return self._peak

    def begin(self, messages: Sequence[ChatMessage]) -> None:
        with self._lock:
            self._asked.append(messages)
            self._in_flight += 1
            self._peak = max(self._peak, self._in_flight)

    def end(self, messages: Sequence[ChatMessage]) -> ChatResponse:
        with self._lock:
            self._in_flight -= 1
        if self.error is not None:
            raise self.error
        angle = (messages[0].content or "").rpartition("\n\n")[2].partition(" ")[0]
        text = f"<{messages[-1].content}> {angle}" if self.answer is None else self.answer
        return ChatResponse(message=ChatMessage(role="assistant", content=text), raw={"usage": self.usage})

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        self.begin(messages)
        time.sleep(self.delay_s)
        return self.end(messages)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text="An answer.")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield CompletionResponse(text="An answer.", delta="An answer.")


class AsyncLLM(ScriptedLLM):
    """Has async methods of its own, as clients of servers do."""

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        self.begin(messages)
        await asyncio.sleep(self.delay_s)
        return self.end(messages)


class Recorder(BaseEventHandler):
    """Keeps every event."""

    events: list[Any] = []  # noqa: RUF012 - pydantic copies it

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.events.append(event)


@pytest.fixture
def texts() -> list[str]:
    return list(TEXTS)


@pytest.fixture
def embedding(tiny_folder: str) -> O1Embedding:
    return O1Embedding(model_name=tiny_folder)


@pytest.fixture
def make(tiny_folder: str) -> Callable[..., O1Embedding]:
    """`make(**settings)` gives an embedding of the tiny checkpoint."""
    return lambda **settings: O1Embedding(model_name=tiny_folder, **settings)


@pytest.fixture
def index(embedding: O1Embedding) -> VectorStoreIndex:
    """Six texts, each with its number as id and as metadata."""
    nodes = [TextNode(text=text, id_=f"n{number}", metadata={"number": number}) for number, text in enumerate(TEXTS)]
    return VectorStoreIndex(nodes, embed_model=embedding)


@pytest.fixture
def scripted() -> type[ScriptedLLM]:
    return ScriptedLLM


@pytest.fixture
def async_llm() -> type[AsyncLLM]:
    return AsyncLLM


@pytest.fixture
def heard() -> Iterator[Callable[[], list[O1QueryEvent]]]:
    """`heard()`: the events of queries so far."""
    root, recorder = instrument.get_dispatcher(), Recorder()
    root.add_event_handler(recorder)
    yield lambda: [event for event in recorder.events if isinstance(event, O1QueryEvent)]
    root.event_handlers.remove(recorder)
