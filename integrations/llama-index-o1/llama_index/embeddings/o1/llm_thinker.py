"""Thoughts from any language model of LlamaIndex: the one that writes a RAG app's answers can think as well."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.llms.custom import CustomLLM
from llama_index.embeddings.o1.llm_calls import in_this_loop, in_threads
from llama_index.embeddings.o1.llm_replies import text_of, usage_of
from llama_index.embeddings.o1.llm_streams import side_by_side

from o1_retriever import metering
from o1_retriever.asking import Answer, whole
from o1_retriever.config import require_float, require_int
from o1_retriever.conversations import Conversation, complete, conversations
from o1_retriever.errors import InvalidTypeError, O1Error, ThinkerError, TransientThinkerError
from o1_retriever.fingerprints import digest
from o1_retriever.foreign_failures import thinker_error
from o1_retriever.tasks import TASKS, Task
from o1_retriever.thinking import ThoughtDelta
from o1_retriever.usage import Meter, Usage
from o1_retriever.worker_threads import THINKERS

Prompt = list[ChatMessage]
_SETTINGS = ("model", "model_name", "temperature", "top_p", "top_k", "max_tokens", "max_new_tokens", "num_output")
_WORDS = ("seed", "system_prompt", "additional_kwargs", "generate_kwargs", "model_kwargs")


class LlamaIndexThinker:
    """Asks a LlamaIndex language model for thoughts, with the prompts of the synthesis experts.

    Thought i takes the task's angle i modulo their number; each thought is a call of its own, several at a time.
    Retries and the rate are the model's own business (its `max_retries`, its `rate_limiter`).

    Args:
        llm: any `LLM` of LlamaIndex; it may answer questions at the same time.
        task: what is asked.
        concurrency: calls of one `think` in flight at most. None: 8, but 1 for a model that runs in this process (a
            `CustomLLM` without async methods of its own).
        timeout_s: seconds for all thoughts of a query, from its first call on.
        arguments: passed to each call, like `{"temperature": 1.0}`; what is possible depends on the model.

    >>> from llama_index.core.llms import MockLLM
    >>> LlamaIndexThinker(MockLLM(max_tokens=3)).think(["Do bees dance?"], 2)
    [['text text text', 'text text text']]
    """

    def __init__(
        self,
        llm: BaseLLM,
        task: Task = TASKS["question-answering"],
        *,
        concurrency: int | None = None,
        timeout_s: float = 120.0,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(llm, BaseLLM):
            raise InvalidTypeError(
                f"llm must be a language model of LlamaIndex, got {type(llm).__name__}: {llm!r:.80}."
            )
        self._blocks = inspect.getattr_static(type(llm), "achat") is inspect.getattr_static(CustomLLM, "achat")
        if concurrency is None:
            concurrency = 1 if self._blocks else 8
        require_int("concurrency", concurrency, 1)
        require_float("timeout_s", timeout_s, 0.001, 86400.0)
        self.llm, self.task, self.concurrency, self.timeout_s = llm, task, concurrency, timeout_s
        self.arguments = dict(arguments or {})
        self._meter = Meter()

    @property
    def name(self) -> str:
        """The model, for messages."""
        return f"{self.llm.class_name()} {self.llm.metadata.model_name!r}"

    @property
    def fingerprint(self) -> str:
        """Changes with the model, its sampling settings and the task; keys and addresses have no part in it."""
        settings = {name: str(getattr(self.llm, name, None)) for name in (*_SETTINGS, *_WORDS)}
        return digest("llama-index-llm", self.name, settings, self.arguments, self.task.fingerprint)

    @property
    def usage(self) -> Usage:
        """What this thinker has cost since it was made; tokens are counted where the model reports them."""
        return self._meter.usage

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """K thoughts for each of B queries.

        Args:
            queries: B texts.
            num_thoughts: K.
            evidence: B lists of passages that a first search found; they go into the prompt.

        Raises:
            ThinkerError: the model will never answer (wrong key, unknown model), or wrote nothing.
            TransientThinkerError: it did not answer in time, was busy or could not be reached.
            InvalidInputError: an empty query, or evidence that does not match the queries.
        """
        return whole(self.think_each(queries, num_thoughts, evidence))

    def think_each(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[Answer]:
        """As `think`, but a query without thoughts for now leaves the others theirs."""
        asked = conversations(self.task, queries, num_thoughts, evidence)
        calls = [[partial(self._ask, _messages(conversation)) for conversation in row] for row in asked]
        outcomes = in_threads(calls, self.concurrency, self.timeout_s)
        return [
            outcome if isinstance(outcome, TransientThinkerError) else self._thoughts(query, outcome)
            for query, outcome in zip(queries, outcomes, strict=True)
        ]

    async def athink(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """`think` without blocking the event loop; cancelling it stops what is in flight.

        A model whose async methods only call its blocking ones is asked in threads.
        """
        asked = conversations(self.task, queries, num_thoughts, evidence)
        ask = self._ask_in_thread if self._blocks else self._aask
        calls = [[partial(ask, _messages(conversation)) for conversation in row] for row in asked]
        replies = await in_this_loop(calls, self.concurrency, self.timeout_s)
        return [self._thoughts(query, row) for query, row in zip(queries, replies, strict=True)]

    def stream_thoughts(self, query: str, num_thoughts: int) -> Iterator[ThoughtDelta]:
        """K thoughts for one query piece by piece, as the model writes them; `query_index` is always 0.

        Args:
            query: one text.
            num_thoughts: K.

        Raises:
            ThinkerError, TransientThinkerError, InvalidInputError: as `think` does.
        """
        (asked,) = conversations(self.task, [query], num_thoughts, None)
        return side_by_side([partial(self._stream, _messages(row)) for row in asked], self.concurrency)

    def _ask(self, prompt: Prompt) -> ChatResponse:
        try:
            return self.llm.chat(prompt, **self.arguments)
        except O1Error:
            raise
        except Exception as error:  # any library may stand behind an LLM
            raise self._failure(error) from error

    async def _aask(self, prompt: Prompt) -> ChatResponse:
        try:
            return await self.llm.achat(prompt, **self.arguments)
        except O1Error:
            raise
        except Exception as error:
            raise self._failure(error) from error

    async def _ask_in_thread(self, prompt: Prompt) -> ChatResponse:
        return await THINKERS.run(self._ask, prompt)

    def _stream(self, prompt: Prompt) -> Iterator[str]:
        try:
            for response in self.llm.stream_chat(prompt, **self.arguments):
                yield response.delta or ""
        except O1Error:
            raise
        except Exception as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> ThinkerError:
        return thinker_error(self.name, error, [getattr(self.llm, "api_key", None)])

    def _thoughts(self, query: str, replies: Sequence[ChatResponse]) -> list[str]:
        """The texts of one query's replies; counts what they cost."""
        texts = [text_of(reply) for reply in replies]
        cost = sum(map(usage_of, replies), Usage(refused=texts.count(None)))
        self._meter.add(cost)
        metering.count(cost)
        return complete(self.name, query, texts)


def _messages(conversation: Conversation) -> Prompt:
    return [ChatMessage(role=MessageRole(message["role"]), content=message["content"]) for message in conversation]
