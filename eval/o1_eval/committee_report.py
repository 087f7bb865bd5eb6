"""The committee's report: differences with intervals and p-values, as Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from o1_eval.committee import Judged, Values, agreement, settings, systems
from o1_eval.markdown import markdown_table
from o1_eval.significance import bootstrap_interval, randomisation_test
from o1_retriever.storage import make_folder, write_whole
from o1_retriever.synthesis.config import KINDS


@dataclass(frozen=True)
class Difference:
    """Of the means of paired nDCG@10.

    Attributes:
        mean: of the differences.
        low, high: 95% bootstrap interval.
        p_value: two-sided, paired randomisation test.
    """

    mean: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Line:
    """One system on one set of queries; `to_alone` and `to_random` are None for the systems themselves."""

    system: str
    ndcg: float
    to_alone: Difference | None
    to_random: Difference | None


def lines(judged: Judged) -> list[Line]:
    """All systems against the query alone and against a random candidate."""
    alone, chance = judged.alone, judged.single.mean(axis=1)
    return [
        Line(
            label,
            float(values.mean()),
            None if values is alone else _difference(values, alone),
            None if values is alone or label.startswith("query + a random") else _difference(values, chance),
        )
        for label, values in systems(judged)
    ]


def _difference(values: Values, base: Values) -> Difference:
    low, high = bootstrap_interval(values - base)
    return Difference(float((values - base).mean()), low, high, randomisation_test(values, base))


def write(parts: Sequence[Judged], facts: Mapping[str, str], folder: Path) -> str:
    """Writes `committee.json` and `committee.md`; returns the Markdown.

    Raises:
        StorageError: the disk refuses.
    """
    make_folder(folder)
    content = {
        "facts": dict(facts),
        "results": {part.name: [asdict(line) for line in lines(part)] for part in parts},
        "settings": {part.name: list(settings(part)) for part in parts},
        "agreement": {part.name: {kind: agreement(part, kind) for kind in KINDS} for part in parts},
    }
    text = _markdown(parts, facts)
    write_whole(folder / "committee.json", (json.dumps(content, indent=2) + "\n").encode())
    write_whole(folder / "committee.md", text.encode())
    return text


def _markdown(parts: Sequence[Judged], facts: Mapping[str, str]) -> str:
    blocks = ["# The committee's choice", "\n".join(f"- {name}: {value}" for name, value in facts.items())]
    head = ["system", "nDCG@10 x 100", "against the query alone", "against a random candidate"]
    for part in parts:
        cells = [
            [line.system, f"{100 * line.ndcg:.1f}", _told(line.to_alone), _told(line.to_random)] for line in lines(part)
        ]
        blocks += [f"## {part.name} ({len(part.query_ids)} queries)", markdown_table(head, cells)]
        chosen = [[kind, rule, f"{100 * value:.1f}"] for kind, rule, value in settings(part)]
        blocks.append(markdown_table(["vote on", "rule", "nDCG@10 x 100 of the choice"], chosen))
        told = ", ".join(f"{kind} {agreement(part, kind):+.2f}" for kind in KINDS)
        blocks.append(f"Mean correlation of the members' score with nDCG@10 over a query's candidates: {told}.")
    return "\n\n".join(blocks) + "\n"


def _told(difference: Difference | None) -> str:
    if difference is None:
        return ""
    d = difference
    return f"{100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}] p = {d.p_value:.4f}"
