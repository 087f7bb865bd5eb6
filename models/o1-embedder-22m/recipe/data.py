"""Training questions and passages of the bundled model, from the train splits of four public sets in BEIR form.

Passages that only dev or test questions need are left out: the model never sees them. Large sets are thinned: the
positives of the questions stay, and some of the others, so that the teacher's vectors take minutes.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path

from o1_retriever import reader
from o1_retriever.beir import read_corpus, read_qrels, read_queries

DATASETS = ("hotpotqa", "nq", "squad", "2wikimultihopqa")
OTHERS, QUESTIONS = 7000, 8000
"""Of a set: passages that are kept beside the positives, and questions that are kept; drawn at random."""
REVIEWS = "squadshifts-amazon_reviews"
"""Origin of the questions whose passages are product reviews: the only ones that are not from Wikipedia."""


@dataclass
class TrainQuery:
    """A question, the indices of its positive passages, and the thoughts that a large language model wrote for it."""

    text: str
    positives: list[int]
    candidates: list[str] = field(default_factory=list)


@dataclass
class Collection:
    """One set: the passages that may be seen, the questions, and which passages are product reviews."""

    name: str
    passages: list[str]
    queries: list[TrainQuery]
    reviews: set[int]


def load(data: Path, thoughts: Path) -> list[Collection]:
    """Reads the four sets and the recorded candidates of their train questions."""
    candidates = {}
    with (thoughts / "candidates.train.jsonl").open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            candidates[row["dataset"], row["query"]] = row["candidates"]
    return [_collection(data / name, candidates) for name in DATASETS]


def _collection(folder: Path, candidates: dict[tuple[str, str], list[str]]) -> Collection:
    train = read_qrels(folder, "train")
    train = {query: train[query] for query in random.Random(0).sample(list(train), min(QUESTIONS, len(train)))}
    positives = {p for row in train.values() for p in row}
    held_out = {p for split in ("dev", "test") for row in read_qrels(folder, split).values() for p in row} - positives
    passages = [passage for passage in read_corpus(folder) if passage.id not in held_out]
    others = [passage.id for passage in passages if passage.id not in positives]
    kept = positives.union(random.Random(0).sample(others, min(OTHERS, len(others))))
    passages = [passage for passage in passages if passage.id in kept]
    index = {passage.id: number for number, passage in enumerate(passages)}
    questions = read_queries(folder, train)
    queries = [
        TrainQuery(q.text, [index[p] for p in train[q.id] if p in index], candidates.get((folder.name, q.text), []))
        for q in questions
    ]
    reviews = {index[p] for q in questions if q.metadata.get("origin") == REVIEWS for p in train[q.id] if p in index}
    return Collection(folder.name, [p.full_text for p in passages], queries, reviews)


def sentences(text: str) -> list[str]:
    """A passage's sentences of at least five words."""
    return [part for part in reader.sentences(text) if len(part.split()) >= 5]
