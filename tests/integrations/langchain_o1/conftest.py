"""O1Embeddings on a tiny checkpoint, and chat models that say what they were asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_o1 import O1Embeddings
from pydantic import Field, PrivateAttr

TEXTS = [
    "Ada Lovelace wrote the first program.",
    "Bees dance to show where flowers are.",
    "The Danube flows into the Black Sea.",
    "Tea was traded along the silk road.",
    "A pendulum keeps time.",
]


class EchoModel(BaseChatModel):
    """Answers `<query> angle`, so that a wrong pairing shows; notes every conversation and how many overlap.

    Attributes:
        delay_s: seconds that an answer takes.
        errors: raised by the next calls, one each.
        wrap: makes the message from the text.
    """

    delay_s: float = 0.0
    errors: list[Any] = Field(default_factory=list)
    wrap: Any = None
    _seen: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _counts: dict[str, int] = PrivateAttr(default_factory=lambda: {"now": 0, "peak": 0})
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "echo"

    @property
    def seen(self) -> list[list[BaseMessage]]:
        return self._seen

    @property
    def peak(self) -> int:
        return self._counts["peak"]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._lock:
            self._seen.append(messages)
            self._counts["now"] += 1
            self._counts["peak"] = max(self._counts["now"], self._counts["peak"])
            error = self.errors.pop(0) if self.errors else None
        time.sleep(self.delay_s)
        with self._lock:
            self._counts["now"] -= 1
        if error is not None:
            raise error
        query = str(messages[-1].content).partition("\n\n")[0]
        text = f"<{query}> {str(messages[0].content).rpartition(chr(10))[2]}"
        usage = {"input_tokens": 10, "output_tokens": 4, "total_tokens": 14}
        message = self.wrap(text) if self.wrap else AIMessage(text, usage_metadata=usage)
        return ChatResult(generations=[ChatGeneration(message=message)])


@pytest.fixture
def chat_model() -> Callable[..., EchoModel]:
    """`chat_model(**settings)` gives an `EchoModel`."""
    return EchoModel


@pytest.fixture
def texts() -> list[str]:
    return list(TEXTS)


@pytest.fixture
def embeddings(tiny_folder: str) -> O1Embeddings:
    return O1Embeddings(model_name=tiny_folder)


@pytest.fixture
def store(embeddings: O1Embeddings) -> InMemoryVectorStore:
    """A store of five texts, with ids "0" to "4" and their first words as metadata."""
    made = InMemoryVectorStore(embeddings)
    made.add_texts(TEXTS, [{"word": text.split()[0]} for text in TEXTS], ids=[str(i) for i in range(len(TEXTS))])
    return made


@pytest.fixture(scope="session")
def other_folder(tmp_path_factory: pytest.TempPathFactory, make_embedder: Callable[..., Any]) -> str:
    """A checkpoint of other weights, saved."""
    folder = tmp_path_factory.mktemp("checkpoints") / "other"
    make_embedder(seed=1).save_pretrained(folder)
    return str(folder)
