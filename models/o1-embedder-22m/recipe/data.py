"""Training rows of the bundled model, from the train splits of four public sets in BEIR form.

Passages that only dev or test questions need are left out: the model never sees them.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

from o1_retriever import reader
from o1_retriever.beir import read_corpus, read_qrels, read_queries

DATASETS = ("hotpotqa", "nq", "squad", "2wikimultihopqa")
THOUGHT_DATASETS = ("hotpotqa", "nq", "2wikimultihopqa")


@dataclass
class TrainQuery:
    """A question, the indices of its positive passages, and thoughts to learn from."""

    dataset: str
    text: str
    positives: list[int]
    candidates: list[str] = field(default_factory=list)
    extractive: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)


@dataclass
class TrainData:
    """All passages (index = row of the teacher's vectors) and the questions by data set."""

    passages: list[str]
    queries: dict[str, list[TrainQuery]]

    def all_queries(self) -> list[TrainQuery]:
        return [query for queries in self.queries.values() for query in queries]


def load(data: Path, thoughts: Path) -> TrainData:
    """Reads the four sets and the recorded candidates of their train questions."""
    passages: list[str] = []
    queries: dict[str, list[TrainQuery]] = {}
    for name in DATASETS:
        folder = data / name
        train = read_qrels(folder, "train")
        needed = {p for row in train.values() for p in row}
        held_out = {p for split in ("dev", "test") for row in read_qrels(folder, split).values() for p in row} - needed
        index: dict[str, int] = {}
        for passage in read_corpus(folder):
            if passage.id not in held_out:
                index[passage.id] = len(passages)
                passages.append(passage.full_text)
        queries[name] = [
            TrainQuery(name, query.text, [index[p] for p in train[query.id] if p in index])
            for query in read_queries(folder, train)
        ]
    _attach_candidates(queries, thoughts)
    return TrainData(passages, queries)


def _attach_candidates(queries: dict[str, list[TrainQuery]], thoughts: Path) -> None:
    by_text = {query.text: query for name in THOUGHT_DATASETS for query in queries[name]}
    with (thoughts / "candidates.train.jsonl").open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row["dataset"] in THOUGHT_DATASETS and row["query"] in by_text:
                by_text[row["query"]].candidates = row["candidates"]


def sentences(text: str) -> list[str]:
    """A passage's sentences of at least five words."""
    return [part for part in reader.sentences(text) if len(part.split()) >= 5]


def draw(rng: random.Random, queries: list[TrainQuery], count: int) -> list[TrainQuery]:
    return rng.sample(queries, count) if len(queries) >= count else rng.choices(queries, k=count)
