"""A tiny judged collection, recorded thoughts for a part of it, and a tiny random sentence-transformers model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

PASSAGES = {
    "p1": ("Ada Lovelace", "wrote the first published program, for the Analytical Engine of Charles Babbage."),
    "p2": ("Charles Babbage", "designed the Analytical Engine, a mechanical computer that was never finished."),
    "p3": ("Honey bees", "tell each other by a dance where flowers are."),
    "p4": ("Volcanoes", "throw out lava and ash where plates of the crust part or meet."),
    "p5": ("Penguins", "are birds of the southern seas that swim and do not fly."),
    "p6": ("", "The Nile flows north through Sudan and Egypt to the Mediterranean."),
}
QUERIES = {
    "q1": "Who designed the engine that Ada Lovelace wrote a program for?",
    "q2": "How do bees show where flowers are?",
    "q3": "Which birds swim and do not fly?",
    "q4": "Through which countries does the Nile flow?",
}
QRELS = {"q1": {"p1": 1, "p2": 2}, "q2": {"p3": 1}, "q3": {"p5": 1}, "q4": {"p6": 1}}
FILLER = 12


def write_jsonl(path: Path, rows: list[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """18 passages, 4 judged queries and one that is not judged."""
    folder = tmp_path / "little"
    (folder / "qrels").mkdir(parents=True)
    filler = [{"_id": f"f{i}", "title": f"Number {i}", "text": f"Filler about {i} things."} for i in range(FILLER)]
    passages = [{"_id": p, "title": title, "text": text} for p, (title, text) in PASSAGES.items()]
    write_jsonl(folder / "corpus.jsonl", [*passages, *filler])
    queries = [{"_id": q, "text": text} for q, text in [*QUERIES.items(), ("q9", "Judged by nobody?")]]
    write_jsonl(folder / "queries.jsonl", queries)
    lines = [f"{query}\t{passage}\t{score}\n" for query, row in QRELS.items() for passage, score in row.items()]
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    return folder


@pytest.fixture
def write_recorded(tmp_path: Path) -> Callable[[Mapping[str, int]], Path]:
    """`write_recorded({"q1": 2})` writes a file with two thoughts for q1."""

    def write(counts: Mapping[str, int]) -> Path:
        path = tmp_path / "recorded.jsonl"
        rows = [
            {"query": QUERIES[q], "thoughts": [f"Thought {i} of {q}." for i in range(n)]} for q, n in counts.items()
        ]
        write_jsonl(path, [dict(row) for row in rows])
        return path

    return write
