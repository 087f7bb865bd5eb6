"""Grounded thoughts: the sentences of retrieved passages that are nearest to the query. Needs no expert."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Protocol

from o1_retriever.embedder import O1Embedder
from o1_retriever.errors import ThinkerError
from o1_retriever.fingerprints import digest
from o1_retriever.reader import sentences


class SentenceScorer(Protocol):
    """How near sentences are to queries."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the scores of the same texts would."""

    def score(self, queries: Sequence[str], sentences: Sequence[Sequence[str]]) -> list[Sequence[float]]:
        """For each of B queries the scores of its sentences: the higher, the nearer."""


class EmbedderScorer:
    """Cosine similarity by an embedder's vectors, the query embedded alone."""

    def __init__(self, embedder: O1Embedder) -> None:
        self.embedder = embedder
        # not the query fingerprint: that names the embedder's thinker, which may be the one that holds this scorer
        self.fingerprint = digest("cosine", embedder.passage_fingerprint, embedder.max_query_tokens)

    def score(self, queries: Sequence[str], sentences: Sequence[Sequence[str]]) -> list[Sequence[float]]:
        """One call of the embedder for all sentences, each distinct one embedded once."""
        distinct = {text: row for row, text in enumerate(dict.fromkeys(text for row in sentences for text in row))}
        vectors = self.embedder.encode_document(list(distinct), show_progress=False)
        asked = self.embedder.encode_query(list(queries), num_thoughts=0)
        return [
            (vectors[[distinct[text] for text in row]] @ query).tolist()
            for query, row in zip(asked, sentences, strict=True)
        ]


class ExtractiveThinker:
    """Takes the K sentences of the evidence that are nearest to the query, best first; ties go to the earlier one.

    Where the evidence holds fewer than K different sentences they are repeated, from the best: the mean of the
    thoughts' vectors then leans on the best.

    Args:
        scorer: an embedder, or anything that scores sentences.

    >>> embedder = O1Embedder.from_pretrained()
    >>> thinker = ExtractiveThinker(embedder)
    >>> thinker.think(["Do bees dance?"], 1, evidence=[["Ada wrote a program. Bees dance to show the way."]])
    [['Bees dance to show the way.']]
    """

    def __init__(self, scorer: O1Embedder | SentenceScorer) -> None:
        self.scorer: SentenceScorer = EmbedderScorer(scorer) if isinstance(scorer, O1Embedder) else scorer
        self.fingerprint = digest("extractive", self.scorer.fingerprint)

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """K sentences of each query's evidence.

        Args:
            queries: B texts.
            num_thoughts: K.
            evidence: B lists of passages.

        Raises:
            ThinkerError: a query has no evidence.
        """
        if not queries or num_thoughts == 0:
            return [[] for _ in queries]
        if evidence is None or len(evidence) != len(queries):
            count = "none" if evidence is None else len(evidence)
            raise ThinkerError(
                f"Extractive thoughts need evidence: one list of passages for each of {len(queries)} queries, got "
                f"{count}. Search first and pass the texts found."
            )
        found = [_sentences(query, passages) for query, passages in zip(queries, evidence, strict=True)]
        scores = self.scorer.score(queries, found)
        return [_best(texts, row, num_thoughts) for texts, row in zip(found, scores, strict=True)]


def _sentences(query: str, passages: Sequence[str]) -> list[str]:
    """The different sentences of the passages, in their order."""
    found = list(dict.fromkeys(sentence for passage in passages for sentence in sentences(passage)))
    if not found:
        raise ThinkerError(f"There is no evidence for {query[:80]!r}: search first and pass the texts found.")
    return found


def _best(texts: Sequence[str], scores: Sequence[float], number: int) -> list[str]:
    order = sorted(range(len(texts)), key=lambda index: -scores[index])
    return [texts[index] for index in islice(cycle(order), number)]
