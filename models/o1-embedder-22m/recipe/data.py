"""Training questions and passages of the bundled model, from the train splits of four public sets in BEIR form.

Passages that only dev or test questions need are left out: the model never sees them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from o1_retriever import reader
from o1_retriever.beir import read_corpus, read_qrels, read_queries

DATASETS = ("hotpotqa", "nq", "squad", "2wikimultihopqa")


@dataclass
class TrainQuery:
    """A question, the indices of its positive passages, and the thoughts that a large language model wrote for it."""

    text: str
    positives: list[int]
    candidates: list[str] = field(default_factory=list)


@dataclass
class Collection:
    """One set: all passages, which of them may be seen, and the questions."""

    name: str
    passages: list[str]
    seen: list[bool]
    queries: list[TrainQuery]


def load(data: Path, thoughts: Path) -> list[Collection]:
    """Reads the four sets and the recorded candidates of their train questions."""
    candidates = {}
    with (thoughts / "candidates.train.jsonl").open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            candidates[row["dataset"], row["query"]] = row["candidates"]
    return [_collection(data / name, candidates) for name in DATASETS]


def _collection(folder: Path, candidates: dict[tuple[str, str], list[str]]) -> Collection:
    train = read_qrels(folder, "train")
    needed = {p for row in train.values() for p in row}
    held_out = {p for split in ("dev", "test") for row in read_qrels(folder, split).values() for p in row} - needed
    passages = list(read_corpus(folder))
    index = {passage.id: number for number, passage in enumerate(passages)}
    queries = [
        TrainQuery(q.text, [index[p] for p in train[q.id] if p in index], candidates.get((folder.name, q.text), []))
        for q in read_queries(folder, train)
    ]
    return Collection(folder.name, [p.full_text for p in passages], [p.id not in held_out for p in passages], queries)


def sentences(text: str) -> list[str]:
    """A passage's sentences of at least five words."""
    return [part for part in reader.sentences(text) if len(part.split()) >= 5]
