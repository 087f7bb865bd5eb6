"""Exploration: candidates for many queries from any thinker, one query after the other, as soon as they are there."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from o1_retriever.config import require_int
from o1_retriever.errors import ThinkerError, TransientThinkerError
from o1_retriever.thinkers import Thinker, check_thoughts
from o1_retriever.usage import Usage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exploration:
    """What a thinker wrote about one query.

    Attributes:
        index: which of the queries, counting from 0.
        texts: its candidates; fewer than asked for where the thinker refused some.
        usage: what they cost; zeros for thinkers that do not count.
    """

    index: int
    texts: list[str]
    usage: Usage = field(default_factory=Usage)


@runtime_checkable
class StreamingThinker(Thinker, Protocol):
    """A thinker that hands out each query's thoughts as soon as they are complete, in that order."""

    def iter_think(self, queries: Iterable[str], num_thoughts: int) -> Iterator[Exploration]:
        """One `Exploration` per query, in order of completion; reads `queries` as it goes along."""


def explore(thinker: Thinker, queries: Sequence[str], num_thoughts: int, batch: int = 32) -> Iterator[Exploration]:
    """Candidates of all queries, in order of completion.

    Args:
        thinker: asked by `iter_think` where it has that, otherwise in batches. A query for which it has no thoughts
            then gets an empty list and does not end the run.
        queries: B texts.
        num_thoughts: candidates per query.
        batch: queries per call of `think`.

    Yields:
        B explorations; their `index` says which query.

    Raises:
        TransientThinkerError: the thinker is unavailable for now.
        ThinkerError: an `iter_think` failed for good.
    """
    require_int("num_thoughts", num_thoughts, 0)
    require_int("batch", batch, 1)
    if isinstance(thinker, StreamingThinker):
        return thinker.iter_think(queries, num_thoughts)
    return _in_batches(thinker, queries, num_thoughts, batch)


def _in_batches(thinker: Thinker, queries: Sequence[str], num_thoughts: int, batch: int) -> Iterator[Exploration]:
    missing = 0
    for start in range(0, len(queries), batch):
        window = queries[start : start + batch]
        for index, texts in enumerate(_think(thinker, window, num_thoughts), start=start):
            missing += not texts and num_thoughts > 0
            yield Exploration(index, texts)
    if missing:
        logger.warning("no thoughts for %d of %d queries", missing, len(queries))


def _think(thinker: Thinker, queries: Sequence[str], num_thoughts: int) -> list[list[str]]:
    """The thoughts of a batch; query by query where it fails as a whole: one query must not spoil the others."""
    try:
        return check_thoughts(thinker.think(queries, num_thoughts), len(queries))
    except TransientThinkerError:
        raise
    except ThinkerError as error:
        if len(queries) > 1:
            return [_think(thinker, [query], num_thoughts)[0] for query in queries]
        logger.info("no thoughts for %r: %s", queries[0][:80], error)
        return [[]]
