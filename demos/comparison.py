"""What thinking changes: for how many questions all passages are among the first, and which are gained and lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from o1_retriever.beir import Qrels
from o1_retriever.metrics import all_at_k


@dataclass(frozen=True)
class Row:
    """A line of the table: of `questions` of one type, how many had all their passages among the first k."""

    type: str
    questions: int
    without: int
    thinking: int
    gained: int
    lost: int


def compare(
    types: Mapping[str, str],
    qrels: Qrels,
    without: Mapping[str, list[str]],
    thinking: Mapping[str, list[str]],
    top_k: int,
) -> list[Row]:
    """One row for each type of question and one for all: who has every passage in the top k, without and thinking."""
    rows = []
    for kind in [*dict.fromkeys(types.values()), "all"]:
        ids = [query for query in types if kind in (types[query], "all")]
        plain = {query for query in ids if all_at_k(without[query], qrels[query], top_k)}
        thought = {query for query in ids if all_at_k(thinking[query], qrels[query], top_k)}
        rows.append(Row(kind, len(ids), len(plain), len(thought), len(thought - plain), len(plain - thought)))
    return rows


def print_table(rows: Sequence[Row], top_k: int, seconds: tuple[float, float]) -> None:
    print(f"\nAll passages of a question in the top {top_k}:\n")
    print(f"{'type':<10}{'questions':>10}{'without thinking':>20}{'with thinking':>20}{'gained':>8}{'lost':>6}")
    for row in rows:
        shares = [f"{count} ({count / row.questions:.0%})" for count in (row.without, row.thinking)]
        print(f"{row.type:<10}{row.questions:>10}{shares[0]:>20}{shares[1]:>20}{row.gained:>8}{row.lost:>6}")
    print(f"{'seconds':<20}{seconds[0]:>20.1f}{seconds[1]:>20.1f}")
