"""A small collection in BEIR form with recorded thoughts, and its vectors by a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.frameworks.material import Material, embed, read
from o1_retriever import RecordedThoughts

QUESTIONS, PASSAGES = 4, 30
THINGS = ("a bee", "a river", "a clock", "a program", "a road", "a comet")


def passage_text(number: int) -> str:
    return f"{THINGS[number % len(THINGS)]} of the {number}th kind, seen {number * 37 % 11} times"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data sets with one, `hotpotqa`: question i is answered by passages i and i + 6."""
    home = tmp_path_factory.mktemp("data")
    folder = home / "hotpotqa"
    (folder / "qrels").mkdir(parents=True)
    passages = [{"_id": f"p{i}", "title": f"Title {i}", "text": passage_text(i)} for i in range(PASSAGES)]
    questions = [{"_id": f"q{i}", "text": f"Who saw {THINGS[i]}?"} for i in range(QUESTIONS)]
    for name, rows in (("corpus", passages), ("queries", questions)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    judged = [f"q{i}\tp{passage}\t1\n" for i in range(QUESTIONS) for passage in (i, i + 6)]
    (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged), encoding="utf-8")
    thoughts = [{"query": row["text"], "candidates": thoughts_of(row["text"])} for row in questions]
    (home / "thoughts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in thoughts), encoding="utf-8")
    return home


def thoughts_of(question: str) -> list[str]:
    return [f"{question[8:-1]} was seen {how}" for how in ("by nobody", "at night", "from a hill")]


@pytest.fixture(scope="session")
def recorded(data: Path) -> RecordedThoughts:
    return RecordedThoughts.from_file(data / "thoughts.jsonl")


@pytest.fixture(scope="session")
def material(data: Path, tiny_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Shared by tests that do not change its cache; the first one to need a store fills it."""
    return embed(read(data / "hotpotqa", "dev"), tiny_folder, tmp_path_factory.mktemp("cache"), fast=False)
