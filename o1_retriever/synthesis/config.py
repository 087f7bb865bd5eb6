"""Settings of the synthesis, each with its meaning and unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from o1_retriever.config import require, require_int
from o1_retriever.synthesis.voting import RULES, Rule

Kind = Literal["similarity", "rank", "margin"]
KINDS: tuple[Kind, ...] = ("similarity", "rank", "margin")
UTILITIES: tuple[Kind, ...] = ("rank", "margin")


@dataclass(frozen=True)
class RefineConfig:
    """How the committee decides.

    Attributes:
        vote_on: similarity (the paper), or the utility `rank` (reciprocal rank; margins decide ties) or `margin`.
        rule: majority (the paper), soft or borda.
        reject_worse: leave out candidates that more than half of the members find worse than the query alone.
        reject_by: the utility that says worse; BM25's margin grows with the text and hardly compares with the query's.
        hardest: how many of the best other passages the margin is taken over.
    """

    vote_on: Kind = "rank"
    rule: Rule = "majority"
    reject_worse: bool = True
    reject_by: Kind = "rank"
    hardest: int = 10

    def __post_init__(self) -> None:
        for name, allowed in (("vote_on", KINDS), ("reject_by", UTILITIES), ("rule", RULES)):
            value = getattr(self, name)
            require(value in allowed, f"{name} must be one of {', '.join(allowed)}, got {value!r}.")
        require_int("hardest", self.hardest, 1)


@dataclass(frozen=True)
class NegativesConfig:
    """How hard negatives are chosen.

    Attributes:
        number: of negatives per query at most.
        first: rank of the first passage looked at, from 1, among those that are not positives.
        last: rank of the last one.
        max_share: of the positive's score that a negative may reach, in the member's own unit; 1 and more: any.
        max_overlap: of the words in sequence (Jaccard index of 5-word shingles) that two texts may share, 0 to 1.
    """

    number: int = 15
    first: int = 1
    last: int = 100
    max_share: float = 0.95
    max_overlap: float = 0.8

    def __post_init__(self) -> None:
        require_int("number", self.number, 0)
        require_int("first", self.first, 1)
        require_int("last", self.last, self.first)
        require(self.max_share > 0, f"max_share must be above 0, got {self.max_share}.")
        require(0 < self.max_overlap <= 1, f"max_overlap must be above 0 and at most 1, got {self.max_overlap}.")
