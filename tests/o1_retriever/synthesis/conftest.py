"""A little judged collection with recorded candidates, for the synthesis."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ANIMALS = ["ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibex", "jay"]
PER_ANIMAL = 6


def write_jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def passage(animal: str, number: int) -> str:
    return f"The {animal} of valley {number} sleeps in a burrow under tree {number * 7} and eats leaf {number * 3}."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 passages; 20 questions, two per animal: each asks for one passage."""
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    passages = [
        {"_id": f"{animal}{n}", "title": animal, "text": passage(animal, n)}
        for animal in ANIMALS
        for n in range(PER_ANIMAL)
    ]
    write_jsonl(data / "corpus.jsonl", passages)
    asked = [(animal, n) for animal in ANIMALS for n in (1, 4)]
    queries = [{"_id": f"q-{a}{n}", "text": f"Where does the {a} of valley {n} sleep?"} for a, n in asked]
    write_jsonl(data / "queries.jsonl", queries)
    lines = [f"q-{animal}{n}\t{animal}{n}\t1\n" for animal, n in asked]
    (data / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")
    return data


@pytest.fixture
def candidates(folder: Path) -> Path:
    """Three candidates a question: misleading, right, and one that says nothing."""
    rows = [
        {
            "query": f"Where does the {animal} of valley {n} sleep?",
            "candidates": [
                passage(animal, n + 1),
                f"The {animal} of valley {n} sleeps in a burrow under tree {n * 7} and eats a leaf there.",
                "Nothing much is known about where animals go at night, some say.",
            ],
        }
        for animal in ANIMALS
        for n in (1, 4)
    ]
    return write_jsonl(folder.parent / "candidates.jsonl", rows)
