"""What `o1 train` needs to make the bundled model: a base that can be trained, and rows.

    python prepare.py --data DATA --thoughts THOUGHTS --work work

Rows: every question once per thought (recorded candidates, and the sentence of a positive that is nearest to the
question), with near misses of the teacher as negatives; and every passage once, found by its first sentence, for the
teacher's and the passages' terms.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from base import causal_minilm
from data import Collection, load, sentences
from numpy.typing import NDArray

from o1_retriever.checkpoint import default_device
from o1_retriever.encoders import MINILM, SentenceTransformerEncoder
from o1_retriever.search import exact_search
from o1_retriever.training.text_vectors import write_text_vectors
from o1_retriever.vectors import VectorCache

Array = NDArray[np.float32]
DEPTH, NEGATIVES, MAX_SHARE = 40, 8, 0.95
"""Passages looked at per question, negatives kept, share of the positive's score above which one may be right."""
COUNTED = 5000
"""Passages in which the base's token frequencies are counted."""


class Teacher:
    """all-MiniLM-L6-v2, its vectors kept on disk."""

    def __init__(self, folder: Path) -> None:
        self._encoder, self._cache = SentenceTransformerEncoder(MINILM, str(default_device())), VectorCache(folder)
        self.key = self._encoder.passage_key

    def vectors(self, texts: list[str], label: str) -> Array:
        """(N, 384) unit vectors."""
        return self._cache.vectors(self.key, texts, self._encoder.encode_passages, label).vectors

    def passages(self, collection: Collection) -> Array:
        """(P, 384) unit vectors."""
        return self.vectors(collection.passages, f"{collection.name}: passages")


def negatives(collection: Collection, queries: Array, passages: Array) -> list[list[int]]:
    """Near misses of each question by the teacher, nearest first."""
    scores, found = exact_search(queries, passages, DEPTH)
    kept = []
    for query, vector, near, values in zip(collection.queries, queries, found, scores, strict=True):
        highest = MAX_SHARE * max((float(vector @ passages[p]) for p in query.positives), default=0.0)
        right = set(query.positives)
        pairs = zip(near.tolist(), values.tolist(), strict=True)
        kept.append([p for p, s in pairs if p not in right and collection.seen[p] and s < highest][:NEGATIVES])
    return kept


def nearest_sentences(collection: Collection, queries: Array, teacher: Teacher) -> list[list[str]]:
    """The sentence of each question's first positive that is nearest to it; none where the passage has none."""
    texts = {p: sentences(collection.passages[p]) for p in sorted({q.positives[0] for q in collection.queries})}
    flat = [sentence for found in texts.values() for sentence in found]
    vectors, starts, start = teacher.vectors(flat, f"{collection.name}: sentences"), {}, 0
    for p, found in texts.items():
        starts[p], start = start, start + len(found)
    chosen = []
    for query, vector in zip(collection.queries, queries, strict=True):
        p = query.positives[0]
        here = vectors[starts[p] : starts[p] + len(texts[p])]
        chosen.append([texts[p][int((here @ vector).argmax())]] if len(here) else [])
    return chosen


def question_rows(collection: Collection, teacher: Teacher) -> Iterator[dict[str, Any]]:
    """Every question once per thought."""
    passages = teacher.passages(collection)
    queries = teacher.vectors([query.text for query in collection.queries], f"{collection.name}: questions")
    near, nearest = negatives(collection, queries, passages), nearest_sentences(collection, queries, teacher)
    for query, misses, sentence in zip(collection.queries, near, nearest, strict=True):
        for thought in [*query.candidates, *sentence]:
            yield {
                "query": query.text,
                "pos": [collection.passages[p] for p in query.positives],
                "neg": [collection.passages[p] for p in misses],
                "thought": thought,
            }


def passage_rows(passages: list[str]) -> Iterator[dict[str, Any]]:
    """Every passage, asked for by its first sentence; beside it another one, for the teacher's term."""
    rng = random.Random(0)
    for passage in passages:
        first = next(iter(sentences(passage)), "")
        if first and len(passage) > len(first) + 20:
            yield {"query": first, "pos": [passage], "neg": [rng.choice(passages)], "thought": ""}


def write(path: Path, content: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--thoughts", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    collections, teacher = load(args.data, args.thoughts), Teacher(args.work / "vectors")
    for name, chosen in (("thoughts", lambda c: c.name != "squad"), ("squad", lambda c: c.name == "squad")):
        write(args.work / f"{name}.jsonl", (row for c in collections if chosen(c) for row in question_rows(c, teacher)))
    texts = [text for c in collections for text in c.passages]
    vectors = np.concatenate([teacher.passages(c) for c in collections])
    write_text_vectors(args.work / "teacher", teacher.key, texts, vectors)
    seen = [text for c in collections for text, allowed in zip(c.passages, c.seen, strict=True) if allowed]
    write(args.work / "passages.jsonl", passage_rows(seen))
    if not (args.work / "base").exists():
        causal_minilm(random.Random(0).sample(seen, min(COUNTED, len(seen)))).save_pretrained(args.work / "base")


if __name__ == "__main__":
    main()
