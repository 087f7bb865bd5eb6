"""Experts explore: from a question to candidate thoughts, each as soon as it is finished.

Any thinker is one; so are candidates recorded before, and thinkers that read the positives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from o1_retriever.embedder import O1Embedder
from o1_retriever.errors import DatasetError
from o1_retriever.exploration import explore
from o1_retriever.fingerprints import digest
from o1_retriever.synthesis.corpus import CorpusFile
from o1_retriever.synthesis.questions import Question
from o1_retriever.thinkers import RecordedThoughts, Thinker
from o1_retriever.usage import Usage

Explored = tuple[int, Sequence[str | None], Usage]
"""Index of the errand, its candidates (None for a refused one, none where there is nothing to say), the cost."""

BATCH = 32
"""Questions handed at once to a thinker that reads evidence."""


@dataclass(frozen=True)
class Errand:
    """What is asked, paid for and kept as one: a part of a question's candidates.

    Attributes:
        question: it is about.
        part: counting from 0; candidate i belongs to part i modulo the expert's number of parts.
    """

    question: Question
    part: int = 0


class Expert(Protocol):
    """Where candidate thoughts come from.

    Attributes:
        fingerprint: changes whenever the candidates of the same questions would.
        parts: errands per question.
        reads_positives: the candidates depend on the positives, not on the query alone.
    """

    fingerprint: str
    parts: int
    reads_positives: bool

    def explore(self, errands: Sequence[Errand], corpus: CorpusFile) -> Iterator[Explored]:
        """Candidates of each errand, as soon as they are there.

        Raises:
            ThinkerError: it failed for good, or for too long (`TransientThinkerError`).
        """


class ThinkerExpert:
    """A thinker that sees the query alone, as the paper's expert does.

    Args:
        thinker: writes the candidates.
        number: of candidates per question.
    """

    parts = 1
    reads_positives = False

    def __init__(self, thinker: Thinker, number: int) -> None:
        self.thinker, self.number = thinker, number
        self.fingerprint = digest("query", thinker.fingerprint, number)

    def explore(self, errands: Sequence[Errand], corpus: CorpusFile) -> Iterator[Explored]:
        for found in explore(self.thinker, [errand.question.text for errand in errands], self.number):
            yield found.index, found.texts, found.usage


class OwnThoughts:
    """A model as a thinker like any other: its own thoughts as texts."""

    def __init__(self, embedder: O1Embedder) -> None:
        self.embedder = embedder
        self.fingerprint = embedder.query_fingerprint()

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """K thoughts of each query; evidence is not read."""
        thoughts = self.embedder.think(list(queries), num_thoughts)
        return [list(row) for row in thoughts]


class EvidenceExpert:
    """A thinker that reads the question's positives: extractive candidates need no language model.

    Such candidates quote what has to be found, which no model knows at query time: good for warming up, and as an
    upper bound.

    Args:
        thinker: makes thoughts from evidence.
        number: of candidates per question.
    """

    parts = 1
    reads_positives = True

    def __init__(self, thinker: Thinker, number: int) -> None:
        self.thinker, self.number = thinker, number
        self.fingerprint = digest("positives", thinker.fingerprint, number)

    def explore(self, errands: Sequence[Errand], corpus: CorpusFile) -> Iterator[Explored]:
        for start in range(0, len(errands), BATCH):
            batch = [errand.question for errand in errands[start : start + BATCH]]
            evidence = [[corpus[row] for row in question.positives] for question in batch]
            found = self.thinker.think([question.text for question in batch], self.number, evidence)
            for index, texts in enumerate(found, start=start):
                yield index, texts, Usage()


class RecordedExpert:
    """Candidates written down before, found by the query's exact text; a question without any gets none.

    Args:
        path: JSONL rows `{"query", "candidates": [...]}`.
        number: of candidates per question that are used at most.
    """

    parts = 1
    reads_positives = False

    def __init__(self, path: Path, number: int) -> None:
        self.path, self.number = path, number
        self._recorded = RecordedThoughts.from_file(path)
        self.fingerprint = digest("recorded", self._recorded.fingerprint, number)

    def covered(self, questions: Sequence[Question]) -> list[Question]:
        """The questions that have candidates.

        Raises:
            DatasetError: none has.
        """
        known = [question for question in questions if question.text in self._recorded]
        if questions and not known:
            raise DatasetError(
                f"{self.path} has candidates for none of {len(questions)} queries, like {questions[0].text[:80]!r}: "
                "it belongs to another data set. Queries are matched by their exact text."
            )
        return known

    def explore(self, errands: Sequence[Errand], corpus: CorpusFile) -> Iterator[Explored]:
        """See `Expert.explore`."""
        for index, errand in enumerate(errands):
            yield index, self._recorded.up_to(errand.question.text, self.number), Usage()
