"""What a thinker says to each of several queries: its thoughts, or why it has none for now.

Knows the ways to ask: each query by itself, in a stream, all at once, or awaited. Knows nothing of embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from o1_retriever import metering
from o1_retriever.errors import InvalidTypeError, ThinkerError, TransientThinkerError
from o1_retriever.exploration import StreamingThinker
from o1_retriever.thinkers import Thinker, check_thoughts, thoughts_of
from o1_retriever.worker_threads import THINKERS

Answer = list[str] | TransientThinkerError
"""To one query: K thoughts, or why there are none for now."""


@runtime_checkable
class EachThinker(Thinker, Protocol):
    """A thinker that answers each query by itself: one without thoughts leaves the others theirs."""

    def think_each(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[Answer]:
        """As `think`, but a failure that may pass is an answer. Raises `ThinkerError` for permanent ones."""


@runtime_checkable
class AsyncThinker(Thinker, Protocol):
    """A thinker that can also be awaited."""

    async def athink(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """As `think`."""


class AnsweredThinker:
    """A thinker that was asked before and says the same again: what follows from it is decided where it is embedded.

    Args:
        thinker: who was asked.
        answers: what it said, one to each query.
    """

    def __init__(self, thinker: Thinker, answers: Sequence[Answer]) -> None:
        self.fingerprint, self._answers = thinker.fingerprint, answers

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """The thoughts that were written.

        Raises:
            TransientThinkerError: a query has none.
        """
        return whole(self._answers)

    def think_each(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[Answer]:
        """The answers."""
        return list(self._answers)


def answers_of(
    thinker: Thinker, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
) -> list[Answer]:
    """Asks a thinker in the way that says most: where it can, each query fails alone and tells what it cost.

    Args:
        thinker: who is asked; waits in this thread.
        queries: B texts.
        num_thoughts: K.
        evidence: B lists of passages that a first search found.

    Returns:
        B answers. Of a thinker that is asked for all queries at once all have its failure.

    Raises:
        ThinkerError: it failed for good, or wrote another number of thoughts than K.
    """
    try:
        if isinstance(thinker, EachThinker):
            return _checked(thinker.think_each(queries, num_thoughts, evidence), queries, num_thoughts)
        if evidence is None and isinstance(thinker, StreamingThinker):
            return _checked(_streamed(thinker, queries, num_thoughts), queries, num_thoughts)
        return list(thoughts_of(thinker, queries, num_thoughts, evidence))
    except TransientThinkerError as error:
        return [error for _ in queries]


async def aanswers_of(
    thinker: Thinker, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
) -> list[Answer]:
    """As `answers_of`, and leaves the event loop free.

    A thinker that can be awaited is awaited here, unless only its stream says what it costs; others wait in a thread
    that sees the caller's context.
    """
    if not isinstance(thinker, AsyncThinker) or isinstance(thinker, StreamingThinker):
        return await THINKERS.run(answers_of, thinker, queries, num_thoughts, evidence)
    try:
        return _checked(await thinker.athink(queries, num_thoughts, evidence), queries, num_thoughts)
    except TransientThinkerError as error:
        return [error for _ in queries]


async def aanswer_of(thinker: Thinker, query: str, num_thoughts: int) -> Answer:
    """As `aanswers_of` for one query."""
    return (await aanswers_of(thinker, [query], num_thoughts))[0]


def whole(answers: Sequence[Answer]) -> list[list[str]]:
    """The thoughts of all queries.

    Raises:
        TransientThinkerError: of the first query that has none.
    """
    thoughts: list[list[str]] = []
    for answer in answers:
        if isinstance(answer, TransientThinkerError):
            raise answer
        thoughts.append(answer)
    return thoughts


def _streamed(thinker: StreamingThinker, queries: Sequence[str], num_thoughts: int) -> list[Answer]:
    """What was complete before a failure stays."""
    texts: dict[int, Answer] = {}
    try:
        for exploration in thinker.iter_think(queries, num_thoughts):
            metering.count(exploration.usage)
            texts[exploration.index] = exploration.texts
    except TransientThinkerError as error:
        return [texts.get(index, error) for index in range(len(queries))]
    return [texts.get(index, []) for index in range(len(queries))]


def _checked(answers: Sequence[Answer], queries: Sequence[str], num_thoughts: int) -> list[Answer]:
    """Fewer thoughts than asked for would pass for fewer wanted."""
    if not isinstance(answers, Sequence):  # a thinker of somebody else's may return anything
        raise InvalidTypeError(f"a thinker must return one list of texts per query, got {answers!r:.80}.")
    rows = check_thoughts([[] if isinstance(a, TransientThinkerError) else a for a in answers], len(queries))
    checked: list[Answer] = []
    for query, answer, row in zip(queries, answers, rows, strict=True):
        if isinstance(answer, TransientThinkerError):
            checked.append(answer)
        elif len(row) == num_thoughts:
            checked.append(row)
        else:
            raise ThinkerError(f"The thinker returned {len(row)} thoughts for {query[:80]!r}, not {num_thoughts}.")
    return checked
