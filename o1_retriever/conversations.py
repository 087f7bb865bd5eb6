"""What a chat model is asked for several queries, and whether it answered: for thinkers of any framework."""

from __future__ import annotations

from collections.abc import Sequence

from o1_retriever.config import require_int
from o1_retriever.errors import InvalidInputError, ThinkerError
from o1_retriever.prompts import check_encodable, check_texts
from o1_retriever.tasks import Task

Conversation = list[dict[str, str]]
"""Messages `{"role", "content"}`, ready to be answered."""


def conversations(
    task: Task, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None
) -> list[list[Conversation]]:
    """One conversation for each thought, with the prompts of the synthesis experts.

    Args:
        task: what is asked. Thought i takes the task's angle i modulo their number.
        queries: B texts.
        num_thoughts: K.
        evidence: B lists of passages that a first search found; they go into the prompt.

    Returns:
        B lists of K conversations.

    Raises:
        InvalidInputError: an empty query, or evidence that does not match the queries.
    """
    require_int("num_thoughts", num_thoughts, 0)
    texts = check_texts(queries, "query")
    found = _checked(evidence, len(texts))
    return [
        [task.messages(query, passages, angle) for angle in range(num_thoughts)]
        for query, passages in zip(texts, found, strict=True)
    ]


def complete(name: str, query: str, texts: Sequence[str | None]) -> list[str]:
    """The texts of a query's thoughts, every one of them.

    Args:
        name: of the model.
        query: what was asked.
        texts: K answers; nothing where the model was silent, declined or was filtered.

    Raises:
        ThinkerError: one of them has no text.
    """
    written = [text for text in texts if text]
    if len(written) < len(texts):
        raise ThinkerError(
            f"{name} wrote {len(written)} of {len(texts)} thoughts for {query[:80]!r}; the others were refused or "
            "empty. Leave the query out, ask another model, or let it write more tokens."
        )
    return written


def _checked(evidence: Sequence[Sequence[str]] | None, queries: int) -> Sequence[Sequence[str] | None]:
    if evidence is None:
        return [None] * queries
    if len(evidence) != queries:
        raise InvalidInputError(f"evidence must be one list of passages per query: {queries}, got {len(evidence)}.")
    for row, passages in enumerate(evidence):
        for passage in passages:
            check_encodable(passage, f"the evidence of query {row}")
    return evidence
