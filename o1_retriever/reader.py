"""The extractive reader: the best sentence of the passages found. An answer without an LLM."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from o1_retriever.embedder import O1Embedder
from o1_retriever.errors import InvalidInputError

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])")


@dataclass(frozen=True)
class Answer:
    """A sentence, where it stands, and how near it is to the question.

    Attributes:
        text: the sentence, word for word.
        passage_index: which of the passages it is from.
        score: cosine similarity to the question.
    """

    text: str
    passage_index: int
    score: float


def sentences(text: str) -> list[str]:
    """Splits a text where a sentence seems to end; blank parts are left out.

    >>> sentences("Ada wrote it. It ran in 1843!  Or did it?")
    ['Ada wrote it.', 'It ran in 1843!', 'Or did it?']
    """
    return [part.strip() for part in _SENTENCE_END.split(text) if part.strip()]


class ExtractiveReader:
    """Picks the sentence nearest to the question by the vectors of the embedder that found the passages."""

    def __init__(self, embedder: O1Embedder) -> None:
        self.embedder = embedder

    def answer(self, question: str, passages: Sequence[str]) -> Answer:
        """The best sentence of the passages; ties go to the earlier one.

        Raises:
            InvalidInputError: the passages hold no sentence.
        """
        found = [(index, sentence) for index, passage in enumerate(passages) for sentence in sentences(passage)]
        if not found:
            raise InvalidInputError("There is no sentence to answer from: pass the texts of the passages found.")
        vectors = self.embedder.encode_document([sentence for _, sentence in found], show_progress=False)
        scores = vectors @ self.embedder.encode_query(question, num_thoughts=0)
        best = int(scores.argmax())
        return Answer(found[best][1], found[best][0], float(scores[best]))
