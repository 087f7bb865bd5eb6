"""From what systems found to the rows of a report: means, shares of the baseline, differences and their p-values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from o1_eval.measures import NDCG, score
from o1_eval.retrieval import Labels, Outcome
from o1_eval.significance import randomisation_test
from o1_retriever.beir import Qrels


@dataclass(frozen=True)
class Row:
    """One system on one set of queries.

    Attributes:
        system: its label.
        measures: means over the queries.
        queries_per_second: on all queries that the system ran on.
        share_of_baseline: of the baseline's nDCG@10, in percent; None where that is 0.
        difference: in nDCG@10 to the model without thoughts; None for other systems.
        p_value: of the difference, by a paired randomisation test.
    """

    system: str
    measures: dict[str, float]
    queries_per_second: float
    share_of_baseline: float | None
    difference: float | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Table:
    """All systems on one set of queries."""

    title: str
    queries: int
    rows: list[Row]


@dataclass(frozen=True)
class IndexRow:
    """How long an index took."""

    index: str
    passages: int
    seconds: float
    passages_per_second: float


def make_table(
    title: str, outcomes: Sequence[Outcome], qrels: Qrels, query_ids: Sequence[str], labels: Labels
) -> Table:
    """Scores the outcomes on some queries.

    Args:
        title: of the table.
        outcomes: of systems that ran on all of `query_ids`.
        qrels: their judgements.
        query_ids: the queries that count.
        labels: tell the baseline and the model without thoughts.
    """
    scores = {outcome.label: score(outcome.run, qrels, query_ids) for outcome in outcomes}
    baseline = float(scores[labels.baseline][NDCG].mean())
    plain = scores.get(labels.plain)
    rows = []
    for outcome in outcomes:
        values = scores[outcome.label]
        means = {name: float(value.mean()) for name, value in values.items()}
        share = 100 * means[NDCG] / baseline if baseline else None
        difference = p_value = None
        if plain is not None and outcome.label.startswith(f"{labels.model}, ") and outcome.label != labels.plain:
            difference = means[NDCG] - float(plain[NDCG].mean())
            p_value = randomisation_test(values[NDCG], plain[NDCG])
        rows.append(Row(outcome.label, means, outcome.queries_per_second, share, difference, p_value))
    return Table(title, len(query_ids), rows)


def make_tables(outcomes: Sequence[Outcome], qrels: Qrels, covered: Sequence[str], labels: Labels) -> list[Table]:
    """One table for all queries; a second for the queries with recorded thoughts, where these are fewer."""
    whole = [outcome for outcome in outcomes if not outcome.partial]
    tables = [make_table("All queries", whole, qrels, list(qrels), labels)]
    if covered:
        tables.append(make_table("Queries with recorded thoughts", outcomes, qrels, covered, labels))
    return tables


def index_rows(outcomes: Sequence[Outcome], passages: int) -> list[IndexRow]:
    """Each index once."""
    seconds = {outcome.index: outcome.index_seconds for outcome in outcomes}
    return [IndexRow(index, passages, spent, passages / spent) for index, spent in seconds.items()]
