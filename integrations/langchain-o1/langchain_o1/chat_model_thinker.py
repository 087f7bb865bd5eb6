"""A LangChain chat model as a thinker: asked with the task prompts of the experts, k thoughts at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_o1.failures import as_thinker_error
from o1_retriever.config import require_float, require_int
from o1_retriever.errors import InvalidInputError, InvalidTypeError, ThinkerError
from o1_retriever.fingerprints import digest
from o1_retriever.llm import together
from o1_retriever.llm_replies import clean
from o1_retriever.metering import count
from o1_retriever.prompts import check_encodable, check_texts
from o1_retriever.tasks import TASKS, Task
from o1_retriever.usage import Meter, Usage

Prompt = LanguageModelInput
TAG = "o1_thought"
"""On every run of the chat model: tells its tokens apart from those of an answer in traces and streams."""


class ChatModelThinker:
    """Asks a chat model for thoughts. The same object may write the answers as well.

    Args:
        model: a chat model, or one with `bind`, `with_retry` or `with_fallbacks` around it. Its own settings hold:
            temperature, timeout, retries, rate limiter.
        task: what is asked. Thought i takes the task's angle i modulo their number.
        max_concurrency: requests in flight at most, per call.
        prompt_price: USD per million prompt tokens.
        completion_price: USD per million completion tokens.
        identity: names the model in the keys of caches. None takes what LangChain writes of the model, which is the
            same in every process for the models of LangChain's own packages.

    Raises:
        InvalidTypeError: `model` is no chat model.

    >>> from langchain_core.language_models import FakeListChatModel
    >>> ChatModelThinker(FakeListChatModel(responses=["Ada Lovelace."])).think(["Who wrote the first program?"], 1)
    [['Ada Lovelace.']]
    """

    def __init__(
        self,
        model: Runnable[LanguageModelInput, Any],
        task: Task = TASKS["question-answering"],
        *,
        max_concurrency: int = 16,
        prompt_price: float = 0.0,
        completion_price: float = 0.0,
        identity: str | None = None,
    ) -> None:
        if not isinstance(model, Runnable):
            raise InvalidTypeError(f"a thinker needs a LangChain chat model, got {type(model).__name__}.")
        require_int("max_concurrency", max_concurrency, 1)
        require_float("prompt_price", prompt_price, 0.0, 1e9)
        require_float("completion_price", completion_price, 0.0, 1e9)
        self.model, self.task, self.max_concurrency = model, task, max_concurrency
        self._prices = (prompt_price, completion_price)
        self._meter = Meter()
        self.fingerprint = digest("langchain", identity or dumps(model), task.fingerprint)

    def __getstate__(self) -> dict[str, Any]:
        """A copy in another process counts for itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_meter"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _meter=Meter())

    @property
    def usage(self) -> Usage:
        """What the thinker has cost since it was made. Tokens are counted for models that tell them."""
        return self._meter.usage

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """K thoughts for each of B queries; waits in this thread.

        Args:
            queries: B texts.
            num_thoughts: K.
            evidence: B lists of passages that a first search found; they go into the prompt.

        Raises:
            ThinkerError: the model will never answer (wrong key, unknown model), or it wrote nothing.
            TransientThinkerError: it did not answer this time, its own retries included.
            InvalidInputError: an empty query, or evidence that does not match the queries.
        """
        prompts = self._prompts(queries, num_thoughts, evidence)
        try:
            config = RunnableConfig(tags=[TAG], max_concurrency=self.max_concurrency)
            answers = self.model.batch(prompts, config)
        except Exception as error:
            raise as_thinker_error(error, self._name) from error
        return self._rows(queries, num_thoughts, answers)

    async def athink(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """`think` without blocking the event loop; cancelling it stops what is in flight."""
        prompts = self._prompts(queries, num_thoughts, evidence)
        slots = asyncio.Semaphore(self.max_concurrency)

        async def ask(prompt: Prompt) -> Any:
            async with slots:
                return await self.model.ainvoke(prompt, RunnableConfig(tags=[TAG]))

        try:
            answers = await together(ask(prompt) for prompt in prompts)
        except Exception as error:
            raise as_thinker_error(error, self._name) from error
        return self._rows(queries, num_thoughts, answers)

    @property
    def _name(self) -> str:
        """How errors name the model: its class, and its name where it has one."""
        named = getattr(self.model, "model_name", None) or getattr(self.model, "model", None)
        return f"{self.model.get_name()} {named!r}" if isinstance(named, str) else self.model.get_name()

    def _prompts(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None
    ) -> list[Prompt]:
        """B x K conversations, those of one query side by side; counted as requests."""
        require_int("num_thoughts", num_thoughts, 0)
        texts = check_texts(queries, "query")
        found = _checked_evidence(evidence, len(texts))
        prompts: list[Prompt] = [
            convert_to_messages(self.task.messages(text, passages, angle))
            for text, passages in zip(texts, found, strict=True)
            for angle in range(num_thoughts)
        ]
        self._count(Usage(requests=len(prompts)))
        return prompts

    def _rows(self, queries: Sequence[str], num_thoughts: int, answers: Sequence[Any]) -> list[list[str]]:
        """The answers' texts, one list per query."""
        for answer in answers:
            self._count(self._cost(answer))
        texts = [_text_of(answer) for answer in answers]
        self._count(Usage(refused=texts.count("")))
        rows = [texts[start : start + num_thoughts] for start in range(0, len(texts), num_thoughts or 1)]
        for query, row in zip(queries, rows, strict=False):  # without thoughts there are no rows
            if "" in row:
                raise ThinkerError(
                    f"{self._name} wrote {len(row) - row.count('')} of {num_thoughts} thoughts for {query[:80]!r}; the "
                    "others were refused or empty. Leave the query out, ask another model, or allow longer answers."
                )
        return rows or [[] for _ in queries]

    def _cost(self, answer: Any) -> Usage:
        """Tokens of an answer as the provider counts them, and what they cost."""
        told = answer.usage_metadata if isinstance(answer, AIMessage) else None
        read, written = (told["input_tokens"], told["output_tokens"]) if told else (0, 0)
        dollars = (read * self._prices[0] + written * self._prices[1]) / 1e6
        return Usage(prompt_tokens=read, completion_tokens=written, cost=dollars)

    def _count(self, usage: Usage) -> None:
        self._meter.add(usage)
        count(usage)


def _checked_evidence(evidence: Sequence[Sequence[str]] | None, queries: int) -> Sequence[Sequence[str] | None]:
    if evidence is None:
        return [None] * queries
    if len(evidence) != queries:
        raise InvalidInputError(f"evidence must be one list of passages per query: {queries}, got {len(evidence)}.")
    for row, passages in enumerate(evidence):
        for passage in passages:
            check_encodable(passage, f"the evidence of query {row}")
    return evidence


def _text_of(answer: Any) -> str:
    """The text of an answer without reasoning; empty where the model declined or was filtered."""
    if isinstance(answer, str):
        return clean(answer)
    if not isinstance(answer, BaseMessage):
        raise ThinkerError(f"a thinker's model must answer with a message or a text, got {type(answer).__name__}.")
    if answer.additional_kwargs.get("refusal") or answer.response_metadata.get("finish_reason") == "content_filter":
        return ""
    return clean(str(answer.text))
