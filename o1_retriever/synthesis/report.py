"""What a synthesis did: counts, agreement, gains, costs, and examples to read. Written as JSON and as Markdown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from o1_retriever.synthesis.config import Kind
from o1_retriever.synthesis.refine import Verdict
from o1_retriever.synthesis.voting import first_choices, fleiss_kappa
from o1_retriever.usage import Usage

EXAMPLES = 5
"""Winners, and losers, that are shown."""


@dataclass(frozen=True)
class Example:
    """One query's election.

    Attributes:
        query: its text.
        candidate: the text shown.
        gain: mean over the members of reciprocal rank with it, less that of the query alone.
    """

    query: str
    candidate: str
    gain: float


@dataclass
class Tally:
    """Adds up rows one by one; keeps a few numbers of each query."""

    queries: int = 0
    candidates: Counter[int] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    excluded: Counter[str] = field(default_factory=Counter)
    negatives: int = 0
    without_negatives: int = 0
    rejected: int = 0
    without_thought: int = 0
    beats_alone: Counter[str] = field(default_factory=Counter)
    equals_alone: Counter[str] = field(default_factory=Counter)
    winners: int = 0
    elections: dict[int, list[list[int]]] = field(default_factory=dict)
    winning: list[Example] = field(default_factory=list)
    losing: list[Example] = field(default_factory=list)

    def add(self, query: str, refined: dict[str, Any], verdict: Verdict, mined: dict[str, Any], kind: Kind) -> None:
        """Counts one query.

        Args:
            query: its text.
            refined: its row of the refine stage.
            verdict: the same row's decision.
            mined: its row of the negatives stage.
            kind: of score that was voted on.
        """
        texts: list[str] = refined["candidates"]
        self.queries += 1
        self.candidates[len(texts)] += 1
        self.dropped.update(refined["dropped"])
        self.excluded.update(mined["excluded"])
        self.negatives += len(mined["negatives"])
        self.without_negatives += not mined["negatives"]
        self.rejected += len(verdict.rejected)
        self.without_thought += not verdict.order
        if texts:
            scores = np.array([opinion.scores[kind] for opinion in verdict.opinions.values()])
            votes = first_choices(scores)
            if np.isin(votes, (0.0, 1.0)).all():  # a member with several firsts is of no opinion that could agree
                self.elections.setdefault(len(texts), []).append([int(n) for n in votes.sum(axis=0)])
        if verdict.order:
            self._add_winner(query, texts, verdict)
        for index in verdict.rejected:
            _keep(self.losing, Example(query, texts[index], _gain(verdict, index)), key=lambda e: e.gain)

    def _add_winner(self, query: str, texts: list[str], verdict: Verdict) -> None:
        winner = verdict.order[0]
        self.winners += 1
        for name, opinion in verdict.opinions.items():
            value, alone = opinion.scores["rank"][winner], opinion.alone["rank"]
            self.beats_alone[name] += value > alone
            self.equals_alone[name] += value == alone
        _keep(self.winning, Example(query, texts[winner], _gain(verdict, winner)), key=lambda e: -e.gain)

    def kappa(self) -> float:
        """Fleiss' kappa of the members' first choices, over the queries with the commonest number of candidates.

        Queries for which a member has several first choices are left out.
        """
        contested = [counts for width, counts in self.elections.items() if width > 1]
        commonest = max(contested, key=len, default=[])
        return fleiss_kappa(np.array(commonest, dtype=np.float64)) if commonest else float("nan")


def _gain(verdict: Verdict, candidate: int) -> float:
    gains = [opinion.scores["rank"][candidate] - opinion.alone["rank"] for opinion in verdict.opinions.values()]
    return float(np.mean(gains))


def _keep(examples: list[Example], example: Example, key: Callable[[Example], float]) -> None:
    """The best few so far."""
    examples.append(example)
    examples.sort(key=key)
    del examples[EXAMPLES:]


def to_json(tally: Tally, skipped: Mapping[str, int], usage: Usage, facts: Mapping[str, object]) -> str:
    """The report for programs.

    Args:
        tally: of all rows.
        skipped: queries left out before, by reason.
        usage: what the expert cost.
        facts: how it was made: data, settings, command.
    """
    kappa = tally.kappa()
    content = {
        "facts": dict(facts),
        "queries": tally.queries,
        "skipped": dict(skipped),
        "candidates per query": {str(n): count for n, count in sorted(tally.candidates.items())},
        "candidates dropped": dict(tally.dropped),
        "candidates rejected": tally.rejected,
        "rows without a thought": tally.without_thought,
        "kappa of first choices": None if np.isnan(kappa) else round(kappa, 4),
        "winner against the query alone": {
            name: {"better": better, "equal": tally.equals_alone[name], "of": tally.winners}
            for name, better in tally.beats_alone.items()
        },
        "negatives": tally.negatives,
        "rows without negatives": tally.without_negatives,
        "negatives excluded": dict(tally.excluded),
        "usage": asdict(usage),
        "winners": [asdict(example) for example in tally.winning],
        "losers": [asdict(example) for example in tally.losing],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


_NUMBERS = (
    "queries",
    "rows without a thought",
    "candidates rejected",
    "kappa of first choices",
    "negatives",
    "rows without negatives",
)


def to_markdown(content: Mapping[str, Any]) -> str:
    """The report for people, from the parsed JSON."""
    lines = ["# Synthesis", ""]
    for name in (
        "queries",
        "rows without a thought",
        "candidates rejected",
        "kappa of first choices",
        "negatives",
        "rows without negatives",
    ):
        lines.append(f"- {name}: {content[name]}")
    for name in ("skipped", "candidates per query", "candidates dropped", "negatives excluded", "usage", "facts"):
        told = ", ".join(f"{key}: {value}" for key, value in content[name].items()) or "none"
        lines.append(f"- {name}: {told}")
    for member, counts in content["winner against the query alone"].items():
        lines.append(
            f"- winner against the query alone, {member} (mean reciprocal rank): better for {counts['better']}, "
            f"equal for {counts['equal']} of {counts['of']}"
        )
    for name in ("winners", "losers"):
        lines += ["", f"## {name.capitalize()}", ""]
        lines += [f"- {e['gain']:+.3f} {_line(e['query'])} -> {_line(e['candidate'])}" for e in content[name]]
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())
