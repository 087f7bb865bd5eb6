"""Does the committee's vote go with usefulness? Choices by members, judged by a retriever that did not vote.

For each query: the candidates, the vote of the members on similarity and on utility, and the nDCG@10 of the scored
retriever with the query alone, with each candidate, and with all of them pooled. Knows no files but the data's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from o1_eval.collection import Collection
from o1_eval.measures import DEPTH, NDCG, score
from o1_eval.systems import search_all
from o1_retriever import pooling
from o1_retriever.encoders import Encoder
from o1_retriever.synthesis.committee import Member
from o1_retriever.synthesis.config import KINDS, Kind, RefineConfig
from o1_retriever.synthesis.questions import Question
from o1_retriever.synthesis.refine import Opinion, decide, refine
from o1_retriever.synthesis.voting import RULES, Rule, standardise
from o1_retriever.thinkers import RecordedThoughts
from o1_retriever.vectors import VectorCache

Values = NDArray[np.float64]
BATCH = 64
"""Queries judged together."""


@dataclass(frozen=True)
class Judged:
    """The members' opinions and the scored retriever's results for B queries with C candidates each.

    Attributes:
        name: of the data.
        query_ids: B ids.
        opinions: per query, member's name -> opinion.
        alone: (B,) nDCG@10 of the query without a thought.
        single: (B, C) nDCG@10 with each candidate.
        pooled: (B,) nDCG@10 with the mean vector of all candidates.
    """

    name: str
    query_ids: list[str]
    opinions: list[dict[str, Opinion]]
    alone: Values
    single: Values
    pooled: Values

    def choice(self, kind: Kind, rule: Rule, reject: bool) -> Values:
        """(B,) nDCG@10 with the candidate that the committee chooses; alone where it rejects all."""
        chosen = self.chosen(kind, rule, reject)
        return np.array([self.alone[b] if c is None else self.single[b, c] for b, c in enumerate(chosen)])

    def chosen(self, kind: Kind, rule: Rule, reject: bool) -> list[int | None]:
        """The candidate that wins each vote; None where all are rejected."""
        config = RefineConfig(vote_on=kind, rule=rule, reject_worse=reject)
        verdicts = [decide(opinions, self.single.shape[1], config) for opinions in self.opinions]
        return [verdict.order[0] if verdict.order else None for verdict in verdicts]


def judge(
    collection: Collection, recorded: RecordedThoughts, number: int, members: Sequence[Member], scored: Scored
) -> Judged:
    """Opinions and results for the queries of a collection that have candidates.

    Args:
        collection: queries, passages and judgements.
        recorded: candidates by query text.
        number: of candidates per query, C.
        members: the committee.
        scored: the retriever that is searched with and does not vote.

    Raises:
        DatasetError: no query has candidates.
        ThinkerError: a query has fewer.
    """
    covered = collection.covered(recorded, "the file")
    candidates = recorded.think(covered.queries, number)
    row_of = {identity: row for row, identity in enumerate(covered.passage_ids)}
    questions = [
        Question(identity, text, tuple(row_of[passage] for passage in covered.qrels[identity]))
        for identity, text in zip(covered.query_ids, covered.queries, strict=True)
    ]
    for member in members:
        member.prepare(covered.passages)
    opinions = [
        verdict.opinions
        for start in range(0, len(questions), BATCH)
        for verdict in refine(
            questions[start : start + BATCH], candidates[start : start + BATCH], members, RefineConfig()
        )
    ]
    scored.prepare(covered)
    alone, single, pooled = scored.measure(covered, candidates)
    return Judged(covered.name, covered.query_ids, opinions, alone, single, pooled)


class Scored:
    """The retriever that tells how useful a candidate is.

    Args:
        encoder: makes unit vectors.
        cache: for those of passages.
    """

    def __init__(self, encoder: Encoder, cache: VectorCache) -> None:
        self.encoder, self.cache = encoder, cache

    def prepare(self, collection: Collection) -> None:
        """Encodes the passages."""
        label = f"{self.encoder.name}: passages"
        key, encode = self.encoder.passage_key, self.encoder.encode_passages
        self._passages = self.cache.vectors(key, collection.passages, encode, label).vectors

    def measure(self, collection: Collection, candidates: Sequence[Sequence[str]]) -> tuple[Values, Values, Values]:
        """nDCG@10 alone (B,), with each candidate (B, C), and with all of them pooled (B,)."""
        count, number = len(candidates), len(candidates[0])
        texts = [f"{query} {c}" for query, row in zip(collection.queries, candidates, strict=True) for c in row]
        vectors = self.encoder.encode_queries(texts).reshape(count, number, -1)
        mean = pooling.mean(torch.from_numpy(vectors)).numpy()
        single = np.stack([self._ndcg(collection, vectors[:, c]) for c in range(number)], axis=1)
        return (
            self._ndcg(collection, self.encoder.encode_queries(collection.queries)),
            single,
            self._ndcg(collection, mean),
        )

    def _ndcg(self, collection: Collection, vectors: NDArray[np.float32]) -> Values:
        run = search_all(collection, vectors, self._passages, DEPTH)
        return score(run, collection.qrels, collection.query_ids)[NDCG]


def systems(judged: Judged, rule: Rule = "majority") -> Iterator[tuple[str, Values]]:
    """Label and nDCG@10 per query of everything that is compared."""
    yield "query alone", judged.alone
    for index in range(judged.single.shape[1]):
        yield f"query + candidate {index + 1}", judged.single[:, index]
    yield "query + a random candidate (expected)", judged.single.mean(axis=1)
    for kind in KINDS:
        yield f"query + choice by {kind} ({rule})", judged.choice(kind, rule, reject=False)
        yield (
            f"the same, without candidates that rank worse than no thought ({kind})",
            judged.choice(kind, rule, reject=True),
        )
    yield "all candidates pooled", judged.pooled
    yield "query + the best in hindsight", judged.single.max(axis=1)


def together(parts: Sequence[Judged]) -> Judged:
    """All queries of several collections."""
    return Judged(
        "all",
        [f"{part.name}/{identity}" for part in parts for identity in part.query_ids],
        [opinions for part in parts for opinions in part.opinions],
        np.concatenate([part.alone for part in parts]),
        np.concatenate([part.single for part in parts]),
        np.concatenate([part.pooled for part in parts]),
    )


def settings(judged: Judged) -> Iterator[tuple[Kind, Rule, float]]:
    """Mean nDCG@10 of the choice under every kind of score and rule: for choosing one on training queries."""
    for kind in KINDS:
        for rule in RULES:
            yield kind, rule, float(judged.choice(kind, rule, reject=False).mean())


def agreement(judged: Judged, kind: Kind) -> float:
    """How far the committee's score goes with usefulness inside a query.

    Mean Pearson correlation of the members' mean standardised score and nDCG@10 over a query's candidates, over the
    queries whose candidates differ in both; nan without any.
    """
    values = []
    for opinions, gains in zip(judged.opinions, judged.single, strict=True):
        merits = standardise(np.array([opinion.scores[kind] for opinion in opinions.values()])).mean(axis=0)
        if np.ptp(merits) > 1e-9 and np.ptp(gains) > 1e-9:
            values.append(float(np.corrcoef(merits, gains)[0, 1]))
    return float(np.mean(values)) if values else float("nan")
