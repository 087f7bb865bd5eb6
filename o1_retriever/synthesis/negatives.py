"""Hard negatives from the members' rankings: near misses, without what may be right after all.

Left out are every known positive (rankings hold none; those within the depth are counted), passages that repeat a
positive or a chosen negative, and likely false negatives: passages that any member scores above a share of the
positive's score (NV-Retriever's positive-aware mining, arXiv 2407.15831, has 0.95). Each exclusion is counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from o1_retriever.synthesis.config import NegativesConfig
from o1_retriever.synthesis.ranking import Ranking

SHINGLE = 5
"""Words of a shingle."""


@dataclass(frozen=True)
class Negatives:
    """What was chosen and why the rest was not.

    Attributes:
        rows: of the chosen passages, the members' best in turn.
        excluded: reason -> how many passages were met and left out.
    """

    rows: list[int]
    excluded: Counter[str]


def choose_negatives(
    rankings: Sequence[Ranking], positives: Sequence[int], text: Callable[[int], str], config: NegativesConfig
) -> Negatives:
    """The members take turns, each with its best passage that is still allowed.

    Args:
        rankings: one per member, of the query.
        positives: rows of the known positives.
        text: of a row.
        config: how many, how deep, how near.
    """
    shares = [_shares(ranking) for ranking in rankings]
    known = sum(any(ranking.ranks[i] <= config.last for ranking in rankings) for i in range(len(positives)))
    excluded: Counter[str] = Counter({"known positive": known} if known else {})
    seen = [_Text(text(row)) for row in positives]
    chosen: list[int] = []
    met: set[int] = set()
    for ranking, place in _turns(rankings, config):
        row = int(ranking.negatives[place])
        if len(chosen) == config.number:
            break
        if row in met:
            continue
        met.add(row)
        candidate = _Text(text(row))
        reason = _reason(candidate, seen, max(share.get(row, 0.0) for share in shares), config)
        if reason:
            excluded[reason] += 1
        else:
            chosen.append(row)
            seen.append(candidate)
    return Negatives(chosen, excluded)


def _turns(rankings: Sequence[Ranking], config: NegativesConfig) -> list[tuple[Ranking, int]]:
    """(ranking, place) with each member's first choice, then each one's second, and so on."""
    return [
        (ranking, place)
        for place in range(config.first - 1, config.last)
        for ranking in rankings
        if place < len(ranking.negatives)
    ]


class _Text:
    """A passage as it is compared: its words, and their shingles once they are needed."""

    def __init__(self, text: str) -> None:
        self.words = re.findall(r"\w+", text.casefold())
        self._shingles: set[tuple[str, ...]] | None = None

    @property
    def shingles(self) -> set[tuple[str, ...]]:
        if self._shingles is None:
            last = max(1, len(self.words) - SHINGLE + 1)
            self._shingles = {tuple(self.words[i : i + SHINGLE]) for i in range(last)}
        return self._shingles


def _shares(ranking: Ranking) -> dict[int, float]:
    """Row -> its score over the best positive's, as this member sees it; nothing where that is not above 0."""
    best = float(ranking.scores.max())
    pairs = zip(ranking.negatives.tolist(), ranking.negative_scores.tolist(), strict=True)
    return {row: score / best for row, score in pairs} if best > 0 else {}


def _reason(candidate: _Text, seen: Sequence[_Text], share: float, config: NegativesConfig) -> str | None:
    """Why a passage may not serve, None where it may; `share` is the highest that any member gives it."""
    if any(candidate.words == other.words for other in seen):
        return "duplicate"
    if any(overlap(candidate.shingles, other.shingles) > config.max_overlap for other in seen):
        return "near-duplicate"
    if config.max_share < 1 and share > config.max_share:
        return "likely false negative"
    return None


def overlap(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    """Jaccard index of two sets: 0 for nothing in common, 1 for equal ones.

    >>> overlap({("a",), ("b",)}, {("b",), ("c",)}) == 1 / 3
    True
    """
    union = len(a | b)
    return len(a & b) / union if union else 0.0
