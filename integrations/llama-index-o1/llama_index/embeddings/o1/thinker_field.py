"""The field `thinker` of an `O1Embedding`: what may stand there, and what becomes of it where it cannot go along."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.base.llms.base import BaseLLM
from llama_index.embeddings.o1.llm_thinker import LlamaIndexThinker

from o1_retriever.errors import InvalidTypeError, ThinkerError
from o1_retriever.thinkers import Thinker


class AbsentThinker:
    """Stands for a thinker that a dict or a pickle does not take along; says so when it is asked.

    Thinkers hold connections, keys and locks, which have no place there.

    Args:
        fingerprint: the absent thinker's.
    """

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """Raises ThinkerError: thoughts of the model itself would be others than asked for."""
        raise ThinkerError(
            "This embedding came out of a dict or a pickle, into which no thinker goes: set it again "
            "(`embedding.thinker = ...`), or None to let the model think by itself."
        )


def as_thinker(value: object) -> Thinker | None:
    """The thinker that was given: as it is, or a language model of LlamaIndex wrapped as one.

    Raises:
        InvalidTypeError: it is neither.
    """
    if isinstance(value, BaseLLM):
        return LlamaIndexThinker(value)
    if value is None or (isinstance(value, Thinker) and not isinstance(value, type)):
        return value
    raise InvalidTypeError(
        "thinker must be a language model of LlamaIndex, an o1_retriever Thinker (an object with `fingerprint` and "
        f"`think`), or None for the model itself; got {type(value).__name__}: {value!r:.80}."
    )
