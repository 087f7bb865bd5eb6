"""Refinement: the committee scores the candidates of many queries together, and votes for each query.

    scores      similarity to the positives, and utility: mean reciprocal rank of the positives, or their margin over
                the hardest other passages, when query + candidate searches the corpus
    rejection   a candidate that most members find worse than no thought at all does not stand
    vote        `voting.py`, on the kind of score that the settings name

Knows members and texts; knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from o1_retriever.errors import InvalidInputError
from o1_retriever.synthesis.committee import Member
from o1_retriever.synthesis.config import KINDS, UTILITIES, Kind, RefineConfig
from o1_retriever.synthesis.questions import Question
from o1_retriever.synthesis.ranking import Ranking
from o1_retriever.synthesis.voting import Scores, ranking, standardise


@dataclass(frozen=True)
class Opinion:
    """What one member says of one query's C candidates.

    Attributes:
        scores: kind -> C values.
        alone: kind of utility -> value of the query without a thought.
    """

    scores: dict[Kind, list[float]]
    alone: dict[Kind, float]


@dataclass(frozen=True)
class Verdict:
    """The committee's decision on one query.

    Attributes:
        opinions: member's name -> opinion.
        order: candidates that stand, best first; empty where the query does better alone.
        merits: of these, mean standardised score over the members.
        rejected: candidates that do worse than no thought.
    """

    opinions: dict[str, Opinion]
    order: list[int]
    merits: list[float]
    rejected: list[int]


def refine(
    questions: Sequence[Question], candidates: Sequence[Sequence[str]], members: Sequence[Member], config: RefineConfig
) -> list[Verdict]:
    """Verdicts on a batch of queries; all their texts go through each member together.

    Args:
        questions: B queries.
        candidates: B lists of screened texts; a list may be empty.
        members: prepared with the corpus.
        config: how they decide.

    Raises:
        InvalidInputError: two members have one name.
    """
    if len({member.name for member in members}) < len(members):
        raise InvalidInputError(f"members must have different names: {', '.join(m.name for m in members)}.")
    opinions = {member.name: _opinions(member, questions, candidates, config.hardest) for member in members}
    return [
        decide({name: of[index] for name, of in opinions.items()}, len(texts), config)
        for index, texts in enumerate(candidates)
    ]


def decide(opinions: dict[str, Opinion], count: int, config: RefineConfig) -> Verdict:
    """The vote on one query, from the members' opinions of its `count` candidates."""
    rejected = [i for i in range(count) if config.reject_worse and _worse(opinions, i, config.reject_by)]
    standing = [i for i in range(count) if i not in rejected]
    if not standing:
        return Verdict(opinions, [], [], rejected)
    scores = _scores(opinions, config.vote_on, standing)
    # the order in which candidates were written must not decide between equal ranks
    finer = _scores(opinions, "margin", standing) if config.vote_on == "rank" else None
    order, merits = ranking(scores, config.rule, finer), standardise(scores).mean(axis=0)
    return Verdict(opinions, [standing[i] for i in order], [float(merits[i]) for i in order], rejected)


def _scores(opinions: dict[str, Opinion], kind: Kind, standing: Sequence[int]) -> Scores:
    """(M, C) every member's scores of the candidates that stand."""
    return np.array([[opinion.scores[kind][i] for i in standing] for opinion in opinions.values()])


def _worse(opinions: dict[str, Opinion], candidate: int, kind: Kind) -> bool:
    """Whether more than half of the members find the candidate worse than no thought."""
    against = sum(opinion.scores[kind][candidate] < opinion.alone[kind] for opinion in opinions.values())
    return 2 * against > len(opinions)


def _opinions(
    member: Member, questions: Sequence[Question], candidates: Sequence[Sequence[str]], hardest: int
) -> list[Opinion]:
    """One member's opinion of every query: each candidate's search, and one without a thought."""
    pairs = [(question, text) for question, texts in zip(questions, candidates, strict=True) for text in texts]
    similarity = member.similarity([text for _, text in pairs], [q.positives for q, _ in pairs]) if pairs else []
    searches: list[tuple[Question, str | None]] = [*pairs, *((question, None) for question in questions)]
    rankings = member.rank(
        [q.text for q, _ in searches], [text for _, text in searches], [q.positives for q, _ in searches], hardest
    )
    alone = rankings[len(pairs) :]
    opinions, start = [], 0
    for texts, unaided in zip(candidates, alone, strict=True):
        part = slice(start, start + len(texts))
        opinions.append(_opinion(similarity[part], rankings[part], unaided, hardest))
        start += len(texts)
    return opinions


def _opinion(similarity: list[float], rankings: Sequence[Ranking], alone: Ranking, hardest: int) -> Opinion:
    return Opinion(
        scores={
            "similarity": similarity,
            "rank": [found.reciprocal_rank() for found in rankings],
            "margin": [found.margin(hardest) for found in rankings],
        },
        alone={"rank": alone.reciprocal_rank(), "margin": alone.margin(hardest)},
    )


def to_json(verdict: Verdict) -> dict[str, Any]:
    """A verdict as a row of a journal."""
    return {
        "opinions": {name: {**o.scores, "alone": o.alone} for name, o in verdict.opinions.items()},
        "order": verdict.order,
        "merits": verdict.merits,
        "rejected": verdict.rejected,
    }


def from_json(row: dict[str, Any]) -> Verdict:
    """The verdict that `to_json` wrote."""
    opinions = {
        name: Opinion({kind: o[kind] for kind in KINDS}, {kind: o["alone"][kind] for kind in UTILITIES})
        for name, o in row["opinions"].items()
    }
    return Verdict(opinions, row["order"], row["merits"], row["rejected"])
