"""The report: Markdown for people, JSON for programs, runs for other tools."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from o1_eval.markdown import markdown_table
from o1_eval.measures import MEASURES, NDCG
from o1_eval.runs import write_run
from o1_eval.tables import IndexRow, Row, Table
from o1_retriever.search import Run
from o1_retriever.storage import make_folder, write_whole


@dataclass(frozen=True)
class Report:
    """Everything that is written.

    Attributes:
        title: of the report.
        facts: what was measured and how, by name.
        tables: scores.
        indexes: speeds of indexing.
        notes: what a reader has to know about the figures.
        runs: label -> run.
    """

    title: str
    facts: dict[str, str]
    tables: list[Table]
    indexes: list[IndexRow]
    notes: list[str]
    runs: dict[str, Run]


def write_report(report: Report, folder: Path) -> None:
    """Writes `results.json`, `results.md` and `runs/<system>.trec`.

    Raises:
        StorageError: the disk refuses.
    """
    runs = make_folder(folder / "runs")
    for label, run in report.runs.items():
        write_run(runs / f"{slug(label)}.trec", run, slug(label))
    write_whole(folder / "results.md", to_markdown(report).encode())
    content = {field: value for field, value in dataclasses.asdict(report).items() if field != "runs"}
    write_whole(folder / "results.json", (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def slug(label: str) -> str:
    """A label as a file name.

    >>> slug("o1-embedder-22m, 3 own thoughts")
    'o1-embedder-22m-3-own-thoughts'
    """
    return re.sub(r"[^\w.-]+", "-", label).strip("-.").lower()


def to_markdown(report: Report) -> str:
    """The whole report as Markdown whose tables also read well in a terminal."""
    parts = [f"# {report.title}", "\n".join(f"- {name}: {value}" for name, value in report.facts.items())]
    for table in report.tables:
        parts += [f"## {table.title} ({table.queries})", _scores(table.rows, table)]
    parts += ["## Indexing", _indexing(report.indexes), "\n".join(report.notes)]
    return "\n\n".join(parts) + "\n"


def _scores(rows: Sequence[Row], table: Table) -> str:
    compared = any(row.difference is not None for row in table.rows)
    head = ["system", *MEASURES, "queries/s", f"{NDCG} in % of the baseline's"]
    cells = [
        [
            row.system,
            *(f"{row.measures[name]:.4f}" for name in MEASURES),
            _speed(row.queries_per_second),
            "" if row.share_of_baseline is None else f"{row.share_of_baseline:.1f}",
            *([_difference(row)] if compared else []),
        ]
        for row in rows
    ]
    return markdown_table([*head, f"{NDCG} against no thoughts"] if compared else head, cells)


def _difference(row: Row) -> str:
    return "" if row.difference is None else f"{row.difference:+.4f} (p = {row.p_value:.4f})"


def _indexing(rows: Sequence[IndexRow]) -> str:
    cells = [[row.index, str(row.passages), f"{row.seconds:.1f}", _speed(row.passages_per_second)] for row in rows]
    return markdown_table(["index", "passages", "seconds", "passages/s"], cells)


def _speed(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
