"""Between the engine and a thinker: asks it ahead where it can be awaited, and counts what it costs.

The engine asks its thinker while it embeds, in the thread that embeds. Async callers ask ahead instead, in their event
loop, and the engine then gets the answer that is there: a failure too, so that only the engine decides what follows.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from o1_retriever import metering
from o1_retriever.errors import TransientThinkerError
from o1_retriever.exploration import StreamingThinker
from o1_retriever.thinkers import Thinker

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """What a thinker said: thoughts, or why there are none for now."""

    thoughts: list[list[str]] = field(default_factory=list)
    failure: TransientThinkerError | None = None


_ANSWER: ContextVar[Answer | None] = ContextVar("o1_answer", default=None)


class AskedThinker:
    """A thinker for the engine: gives the answer that was asked for ahead, or asks now."""

    def __init__(self, thinker: Thinker) -> None:
        self.thinker = thinker

    @property
    def fingerprint(self) -> str:
        return self.thinker.fingerprint

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """As the thinker itself."""
        answer = _ANSWER.get()
        if answer is None:
            return self._ask(queries, num_thoughts, evidence)
        if answer.failure is not None:
            raise answer.failure
        return answer.thoughts

    async def ahead(self, queries: Sequence[str], num_thoughts: int) -> Answer:
        """Asks now; leaves the event loop free. For `answering`.

        Raises:
            ThinkerError: the thinker failed for good.
        """
        athink = getattr(self.thinker, "athink", None)
        try:
            if athink is None or isinstance(self.thinker, StreamingThinker):
                return Answer(await _in_thread(lambda: self._ask(queries, num_thoughts, None)))
            return Answer(await athink(queries, num_thoughts))
        except TransientThinkerError as error:
            return Answer(failure=error)

    def _ask(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None
    ) -> list[list[str]]:
        """Streams where the thinker does, because only a stream says what each query cost."""
        if evidence is not None or not isinstance(self.thinker, StreamingThinker):
            return self.thinker.think(queries, num_thoughts, evidence)
        thoughts: list[list[str]] = [[] for _ in queries]
        for exploration in self.thinker.iter_think(queries, num_thoughts):
            metering.count(exploration.usage)
            thoughts[exploration.index] = exploration.texts
        return thoughts


@contextmanager
def answering(answer: Answer) -> Iterator[None]:
    """Inside, and in threads started with a copy of this context, every `AskedThinker` gives this answer."""
    token = _ANSWER.set(answer)
    try:
        yield
    finally:
        _ANSWER.reset(token)


async def _in_thread(work: Callable[[], T]) -> T:
    """As `asyncio.to_thread`, in a thread of its own: the loop's are few, and this one mostly waits."""
    executor = ThreadPoolExecutor(1, thread_name_prefix="o1-thinker")
    try:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(executor, lambda: context.run(work))
    finally:
        executor.shutdown(wait=False)
