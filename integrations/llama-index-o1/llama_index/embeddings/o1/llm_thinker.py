"""Thoughts from any language model of LlamaIndex: the one that writes a RAG app's answers can think as well."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.llms.custom import CustomLLM
from llama_index.embeddings.o1.llm_calls import in_this_loop, in_threads
from llama_index.embeddings.o1.llm_failures import thinker_error
from llama_index.embeddings.o1.llm_replies import text_of, usage_of
from llama_index.embeddings.o1.llm_streams import side_by_side

from o1_retriever import metering
from o1_retriever.config import require_float, require_int
from o1_retriever.errors import InvalidInputError, InvalidTypeError, O1Error, ThinkerError
from o1_retriever.fingerprints import digest
from o1_retriever.prompts import check_encodable, check_texts
from o1_retriever.tasks import TASKS, Task
from o1_retriever.thinking import ThoughtDelta
from o1_retriever.usage import Meter, Usage

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
        timeout_s: seconds for all thoughts of one `think`.
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
        prompts = self._prompts(queries, num_thoughts, evidence)
        replies = in_threads([partial(self._ask, prompt) for prompt in prompts], self.concurrency, self.timeout_s)
        return self._thoughts(queries, num_thoughts, replies)

    async def athink(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """`think` without blocking the event loop; cancelling it stops what is in flight.

        A model whose async methods only call its blocking ones is asked in threads.
        """
        prompts = self._prompts(queries, num_thoughts, evidence)
        ask = self._ask_in_thread if self._blocks else self._aask
        replies = await in_this_loop([partial(ask, prompt) for prompt in prompts], self.concurrency, self.timeout_s)
        return self._thoughts(queries, num_thoughts, replies)

    def stream_thoughts(self, query: str, num_thoughts: int) -> Iterator[ThoughtDelta]:
        """K thoughts for one query piece by piece, as the model writes them; `query_index` is always 0.

        Args:
            query: one text.
            num_thoughts: K.

        Raises:
            ThinkerError, TransientThinkerError, InvalidInputError: as `think` does.
        """
        prompts = self._prompts([query], num_thoughts, None)
        return side_by_side([partial(self._stream, prompt) for prompt in prompts], self.concurrency)

    def _prompts(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None
    ) -> list[Prompt]:
        """The conversations to ask, all of the first query's thoughts first."""
        require_int("num_thoughts", num_thoughts, 0)
        texts = check_texts(queries, "query")
        if evidence is not None and len(evidence) != len(texts):
            raise InvalidInputError(
                f"evidence must be one list of passages per query: {len(texts)}, got {len(evidence)}."
            )
        prompts: list[Prompt] = []
        for row, query in enumerate(texts):
            passages = evidence[row] if evidence is not None else None
            for passage in passages or ():
                check_encodable(passage, f"the evidence of query {row}")
            prompts.extend(_conversation(self.task, query, passages, angle) for angle in range(num_thoughts))
        return prompts

    def _ask(self, prompt: Prompt) -> ChatResponse:
        try:
            return self.llm.chat(prompt, **self.arguments)
        except O1Error:
            raise
        except Exception as error:  # any library may stand behind an LLM
            raise thinker_error(self.name, error, getattr(self.llm, "api_key", None)) from error

    async def _aask(self, prompt: Prompt) -> ChatResponse:
        try:
            return await self.llm.achat(prompt, **self.arguments)
        except O1Error:
            raise
        except Exception as error:
            raise thinker_error(self.name, error, getattr(self.llm, "api_key", None)) from error

    async def _ask_in_thread(self, prompt: Prompt) -> ChatResponse:
        return await asyncio.to_thread(self._ask, prompt)

    def _stream(self, prompt: Prompt) -> Iterator[str]:
        try:
            for response in self.llm.stream_chat(prompt, **self.arguments):
                yield response.delta or ""
        except O1Error:
            raise
        except Exception as error:
            raise thinker_error(self.name, error, getattr(self.llm, "api_key", None)) from error

    def _thoughts(self, queries: Sequence[str], num_thoughts: int, replies: list[ChatResponse]) -> list[list[str]]:
        """The texts by query; counts what they cost."""
        texts = [text_of(reply) for reply in replies]
        cost = sum(map(usage_of, replies), Usage(refused=texts.count(None)))
        self._meter.add(cost)
        metering.count(cost)
        rows = [texts[start : start + num_thoughts] for start in range(0, len(texts), num_thoughts or 1)]
        return [self._complete(query, row) for query, row in zip(queries, rows or [[]] * len(queries), strict=True)]

    def _complete(self, query: str, row: list[str | None]) -> list[str]:
        written = [text for text in row if text is not None]
        if len(written) < len(row):
            raise ThinkerError(
                f"{self.name} wrote {len(written)} of {len(row)} thoughts for {query[:80]!r}, and nothing for the "
                "others. Leave the query out, ask another model, or let it write more tokens."
            )
        return written


def _conversation(task: Task, query: str, evidence: Sequence[str] | None, angle: int) -> Prompt:
    messages = task.messages(query, evidence, angle)
    return [ChatMessage(role=MessageRole(message["role"]), content=message["content"]) for message in messages]
