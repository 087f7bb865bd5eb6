"""A LangChain chat model as a thinker: asked with the task prompts of the experts, k thoughts at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, BaseMessage, convert_to_messages
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import SecretStr

from o1_retriever.asking import Answer, whole
from o1_retriever.config import require_float, require_int
from o1_retriever.conversations import complete, conversations
from o1_retriever.errors import InvalidTypeError, ThinkerError, TransientThinkerError
from o1_retriever.fingerprints import digest
from o1_retriever.foreign_failures import thinker_error
from o1_retriever.llm import together
from o1_retriever.llm_replies import clean
from o1_retriever.metering import count
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
        return whole(self.think_each(queries, num_thoughts, evidence))

    def think_each(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[Answer]:
        """As `think`, but a query without thoughts for now leaves the others theirs."""
        prompts = self._prompts(queries, num_thoughts, evidence)
        config = RunnableConfig(tags=[TAG], max_concurrency=self.max_concurrency)
        try:
            replies = self.model.batch(prompts, config, return_exceptions=True)
        except Exception as error:  # any library may stand behind a chat model
            raise self._failure(error) from error
        rows = [replies[row * num_thoughts : (row + 1) * num_thoughts] for row in range(len(queries))]
        return [self._answer(query, row) for query, row in zip(queries, rows, strict=True)]

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
            replies = await together(ask(prompt) for prompt in prompts)
        except Exception as error:
            raise self._failure(error) from error
        rows = [replies[row * num_thoughts : (row + 1) * num_thoughts] for row in range(len(queries))]
        return [self._thoughts(query, row) for query, row in zip(queries, rows, strict=True)]

    @property
    def _name(self) -> str:
        """How errors name the model: its class, and its name where it has one."""
        named = getattr(self.model, "model_name", None) or getattr(self.model, "model", None)
        return f"{self.model.get_name()} {named!r}" if isinstance(named, str) else self.model.get_name()

    def _prompts(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None
    ) -> list[Prompt]:
        """B x K conversations, those of one query side by side; counted as requests."""
        asked = conversations(self.task, queries, num_thoughts, evidence)
        prompts: list[Prompt] = [convert_to_messages(conversation) for row in asked for conversation in row]
        self._count(Usage(requests=len(prompts)))
        return prompts

    def _answer(self, query: str, replies: Sequence[Any]) -> Answer:
        """One query's thoughts, or why there are none for now. What did arrive is counted all the same."""
        failed = [reply for reply in replies if isinstance(reply, Exception)]
        if not failed:
            return self._thoughts(query, replies)
        self._count(sum(map(self._cost, replies), Usage()))
        passing: list[TransientThinkerError] = []
        for error in failed:
            failure = self._failure(error)
            if not isinstance(failure, TransientThinkerError):
                raise failure from error
            failure.__cause__ = error
            passing.append(failure)
        return passing[0]

    def _thoughts(self, query: str, replies: Sequence[Any]) -> list[str]:
        """The texts of one query's replies; counts what they cost."""
        texts = [_text_of(reply) for reply in replies]
        self._count(sum(map(self._cost, replies), Usage(refused=texts.count(""))))
        return complete(self._name, query, texts)

    def _failure(self, error: Exception) -> ThinkerError:
        return thinker_error(self._name, error, _secrets_of(self.model))

    def _cost(self, answer: Any) -> Usage:
        """Tokens of an answer as the provider counts them, and what they cost."""
        told = answer.usage_metadata if isinstance(answer, AIMessage) else None
        read, written = (told["input_tokens"], told["output_tokens"]) if told else (0, 0)
        dollars = (read * self._prices[0] + written * self._prices[1]) / 1e6
        return Usage(prompt_tokens=read, completion_tokens=written, cost=dollars)

    def _count(self, usage: Usage) -> None:
        self._meter.add(usage)
        count(usage)


def _secrets_of(model: object) -> list[SecretStr]:
    """The keys that a chat model holds, also inside of what `bind`, `with_retry` and `with_fallbacks` put around it."""
    values = [each for value in vars(model).values() for each in (value if isinstance(value, list) else [value])]
    inner = [secret for value in values if isinstance(value, Runnable) for secret in _secrets_of(value)]
    return [value for value in values if isinstance(value, SecretStr)] + inner


def _text_of(answer: Any) -> str:
    """The text of an answer without reasoning; empty where the model declined or was filtered."""
    if isinstance(answer, str):
        return clean(answer)
    if not isinstance(answer, BaseMessage):
        raise ThinkerError(f"a thinker's model must answer with a message or a text, got {type(answer).__name__}.")
    if answer.additional_kwargs.get("refusal") or answer.response_metadata.get("finish_reason") == "content_filter":
        return ""
    return clean(str(answer.text))
