"""A batch of queries through the embedder in one call, and what becomes of each of them.

Knows one batch; knows nothing of who waits or of the thread that it runs in.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from o1_retriever.asking import Answer, AnsweredThinker
from o1_retriever.config import ThinkingConfig
from o1_retriever.embedder import O1Embedder
from o1_retriever.query_encoding import QueryEncoding


@dataclass(frozen=True, eq=False)
class Request:
    """One query on its way. It brings its embedder along, so that an idle line keeps no model in memory.

    Attributes:
        query: its checked text.
        thinking: how to think about it.
        embedder: does it.
        answer: what the embedder's thinker said to it; None: the model thinks by itself, or nobody does.
        future: of its encoding.
    """

    query: str
    thinking: ThinkingConfig
    embedder: O1Embedder
    answer: Answer | None = None
    future: Future[QueryEncoding] = field(default_factory=Future)

    @property
    def settings(self) -> tuple[ThinkingConfig, bool]:
        """What those of one batch have in common."""
        return self.thinking, self.answer is None


def serve(batch: Sequence[Request]) -> None:
    """Serves queries of equal settings in one call; after an error in halves, so that it ends at those that cause it.

    Only embedding is tried again: the answers of a thinker are there already, and nobody is asked for them twice.
    """
    error = _attempt(batch)
    if error is not None and len(batch) == 1:
        batch[0].future.set_exception(error)
    elif error is not None:
        serve(batch[: len(batch) // 2])
        serve(batch[len(batch) // 2 :])


def _attempt(batch: Sequence[Request]) -> BaseException | None:
    """Hands every query of the batch its row, or returns what went wrong."""
    try:
        encoding = _embedder(batch).encode_query(
            [request.query for request in batch], thinking=batch[0].thinking, return_thoughts=True
        )
        rows = [_row(encoding, index) for index in range(len(batch))]
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the callers', who wait for an answer
        return error
    for request, row in zip(batch, rows, strict=True):
        request.future.set_result(row)
    return None


def _embedder(batch: Sequence[Request]) -> O1Embedder:
    """The batch's embedder; where its thinker has answered, one with equal weights and counters that says the same."""
    embedder, answers = batch[0].embedder, [request.answer for request in batch if request.answer is not None]
    if not answers or embedder.thinker is None:
        return embedder
    answered = copy.copy(embedder)
    answered.thinker = AnsweredThinker(embedder.thinker, answers)
    return answered


def _row(encoding: QueryEncoding, index: int) -> QueryEncoding:
    """One query of a batch; copied, so that its vector does not keep those of its mates in memory."""
    return QueryEncoding(
        encoding.vectors[index : index + 1].copy(),
        [encoding.thoughts[index]],
        [encoding.thought_vectors[index].copy()],
        [encoding.degraded[index]],
    )
