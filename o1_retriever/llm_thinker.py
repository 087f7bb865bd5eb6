"""Thoughts from a language model behind an HTTP endpoint: an expert for synthesis, or the thinker of an embedder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

from o1_retriever import metering
from o1_retriever.asking import Answer
from o1_retriever.completion_order import in_completion_order
from o1_retriever.config import require_int
from o1_retriever.errors import InvalidInputError, ThinkerError, TransientThinkerError
from o1_retriever.exploration import Exploration
from o1_retriever.fingerprints import digest
from o1_retriever.llm import ChatClient, LLMConfig, together
from o1_retriever.prompts import check_encodable, check_texts
from o1_retriever.tasks import TASKS, Task
from o1_retriever.usage import Usage


class LLMThinker:
    """Asks a chat model for thoughts, several angles side by side.

    Args:
        client: a client, which the caller closes, or the configuration of one.
        task: what is asked. Thought i takes the task's angle i modulo their number; thoughts with the same angle are
            asked for with one request where the server can.

    >>> from o1_retriever.llm import LLMConfig
    >>> thinker = LLMThinker(LLMConfig("http://localhost:8000/v1", "qwen"), TASKS["finance"])
    """

    def __init__(self, client: ChatClient | LLMConfig, task: Task = TASKS["question-answering"]) -> None:
        self.client = ChatClient(client) if isinstance(client, LLMConfig) else client
        self.task = task
        config = self.client.config
        settings = (config.temperature, config.top_p, config.max_tokens, config.seed)
        self.fingerprint = digest("llm", config.model, task.fingerprint, settings)

    def __enter__(self) -> LLMThinker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the client."""
        self.client.close()

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """K thoughts for each of B queries; may be called inside a running event loop, which it then blocks.

        Args:
            queries: B texts.
            num_thoughts: K.
            evidence: B lists of passages that a first search found; they go into the prompt.

        Raises:
            ThinkerError: the server will never answer (wrong key, unknown model), or the model refused a query.
            TransientThinkerError: it did not answer, `attempts` times.
            InvalidInputError: an empty query, or evidence that does not match the queries.
        """
        future = self.client.submit(self._all(*_checked(queries, num_thoughts, evidence)))
        try:
            return future.result()
        finally:
            future.cancel()  # after Ctrl-C; does nothing to a finished one

    def think_each(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[Answer]:
        """As `think`, but a query without thoughts for now leaves the others theirs; counts what all cost."""
        future = self.client.submit(self._each(*_checked(queries, num_thoughts, evidence)))
        try:
            outcomes = future.result()
        finally:
            future.cancel()
        answers: list[Answer] = []
        for query, outcome in zip(queries, outcomes, strict=True):
            if isinstance(outcome, Exploration):
                metering.count(outcome.usage)
                answers.append(self._complete(query, num_thoughts, outcome.texts))
            else:
                answers.append(outcome)
        return answers

    async def athink(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """`think` without blocking the event loop; cancelling it stops what is in flight."""
        work = self._all(*_checked(queries, num_thoughts, evidence))
        return await asyncio.wrap_future(self.client.submit(work))

    def iter_think(self, queries: Iterable[str], num_thoughts: int) -> Iterator[Exploration]:
        """Each query's thoughts as soon as they are complete, in that order; a refusal gives fewer than K.

        Closing the iterator cancels what is in flight.

        Args:
            queries: texts, read as slots become free.
            num_thoughts: K.

        Raises:
            ThinkerError, TransientThinkerError, InvalidInputError: as `think` does; what was complete comes first.
        """
        require_int("num_thoughts", num_thoughts, 0)
        works = (
            self._explore(index, check_texts([query], "query", index)[0], num_thoughts, None)
            for index, query in enumerate(queries)
        )
        return in_completion_order(works, self.client.submit, self.client.config.concurrency)

    async def _all(
        self, queries: list[str], num_thoughts: int, evidence: Sequence[Sequence[str] | None]
    ) -> list[list[str]]:
        """All queries, as many at a time as there are slots."""
        thoughts: list[list[str]] = [[] for _ in queries]
        asked = iter(enumerate(zip(queries, evidence, strict=True)))

        async def work() -> None:
            for index, (query, passages) in asked:
                exploration = await self._explore(index, query, num_thoughts, passages)
                thoughts[index] = self._complete(query, num_thoughts, exploration.texts)

        await together(work() for _ in range(min(self.client.config.concurrency, len(queries))))
        return thoughts

    async def _each(
        self, queries: list[str], num_thoughts: int, evidence: Sequence[Sequence[str] | None]
    ) -> list[Exploration | TransientThinkerError]:
        """All queries, as many at a time as there are slots; only a permanent failure stops the others."""
        slots = asyncio.Semaphore(self.client.config.concurrency)

        async def work(index: int, query: str, passages: Sequence[str] | None) -> Exploration | TransientThinkerError:
            async with slots:
                try:
                    return await self._explore(index, query, num_thoughts, passages)
                except TransientThinkerError as error:
                    return error

        return await together(work(index, *pair) for index, pair in enumerate(zip(queries, evidence, strict=True)))

    def _complete(self, query: str, num_thoughts: int, texts: list[str]) -> list[str]:
        if len(texts) < num_thoughts:
            raise ThinkerError(
                f"{self.client.config.model} refused: it wrote {len(texts)} of {num_thoughts} thoughts for "
                f"{query[:80]!r}. Leave the query out, ask another model, or raise max_tokens."
            )
        return texts

    async def _explore(self, index: int, query: str, num_thoughts: int, evidence: Sequence[str] | None) -> Exploration:
        """One query: the candidates of each angle, put back into their order."""
        angles = max(1, len(self.task.angles))
        groups = [range(angle, num_thoughts, angles) for angle in range(min(angles, num_thoughts))]
        samples = await together(
            self.client.sample(self.task.messages(query, evidence, angle), len(group), first=angle)
            for angle, group in enumerate(groups)
        )
        texts: list[str | None] = [None] * num_thoughts
        for group, sample in zip(groups, samples, strict=True):
            for candidate, text in zip(group, sample.texts, strict=True):
                texts[candidate] = text
        usage = sum((sample.usage for sample in samples), Usage())
        return Exploration(index, [text for text in texts if text is not None], usage)


def _checked(
    queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None
) -> tuple[list[str], int, Sequence[Sequence[str] | None]]:
    require_int("num_thoughts", num_thoughts, 0)
    texts = check_texts(queries, "query")
    if evidence is None:
        return texts, num_thoughts, [None] * len(texts)
    if len(evidence) != len(texts):
        raise InvalidInputError(f"evidence must be one list of passages per query: {len(texts)}, got {len(evidence)}.")
    for row, passages in enumerate(evidence):
        for passage in passages:
            check_encodable(passage, f"the evidence of query {row}")
    return texts, num_thoughts, evidence
