"""What `o1 train` needs to make the bundled model: a base that can be trained, rows, the teacher's vectors.

python prepare.py --data DATA --thoughts THOUGHTS --work work

thoughts, squad   every question once per thought (recorded candidates, and the sentence of a positive that is nearest
                  to the question), with near misses of the teacher as negatives
passages          passages found by their first sentence, for the terms that follow the teacher
reviews, long     the same of product reviews, and of several passages joined: other domains, other lengths
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Iterator, Sequence
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
Row = dict[str, Any]
DEPTH, NEGATIVES, MAX_SHARE = 40, 8, 0.95
"""Passages looked at per question, negatives kept, share of the positive's score above which one may be right."""
COUNTED = 5000
"""Passages in which the base's token frequencies are counted."""
LONG, LONG_CHARACTERS = 3000, 1100
"""How many joined passages, and from which length on nothing more is joined (some 250 tokens)."""


class Teacher:
    """all-MiniLM-L6-v2 in bfloat16 where the processor has it, as in training; its vectors are kept on disk."""

    def __init__(self, folder: Path) -> None:
        self._encoder = SentenceTransformerEncoder(MINILM, str(default_device()), "fast")
        self._cache, self.key = VectorCache(folder), self._encoder.passage_key

    def vectors(self, texts: list[str], label: str) -> Array:
        """(N, 384) unit vectors."""
        return self._cache.vectors(self.key, texts, self._encoder.encode_passages, label).vectors


def negatives(collection: Collection, queries: Array, passages: Array) -> list[list[int]]:
    """Near misses of each question by the teacher, nearest first."""
    scores, found = exact_search(queries, passages, DEPTH)
    kept = []
    for query, vector, near, values in zip(collection.queries, queries, found, scores, strict=True):
        highest = MAX_SHARE * max((float(vector @ passages[p]) for p in query.positives), default=0.0)
        right = set(query.positives)
        pairs = zip(near.tolist(), values.tolist(), strict=True)
        kept.append([p for p, s in pairs if p not in right and s < highest][:NEGATIVES])
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


def question_rows(collection: Collection, passages: Array, teacher: Teacher) -> Iterator[Row]:
    """Every question once per thought."""
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


def passage_rows(passages: list[str]) -> Iterator[Row]:
    """Every passage, asked for by its first sentence; beside it another one, for the teacher's term."""
    rng = random.Random(0)
    for passage in passages:
        first = next(iter(sentences(passage)), "")
        if first and len(passage) > len(first) + 20:
            yield {"query": first, "pos": [passage], "neg": [rng.choice(passages)], "thought": ""}


def joined(collections: Sequence[Collection]) -> list[str]:
    """Texts of several passages of one set: the teacher says where such a mixture lies."""
    rng, texts = random.Random(1), []
    for collection in rng.choices(collections, [len(c.passages) for c in collections], k=LONG):
        text = ""
        while len(text) < LONG_CHARACTERS:
            text = f"{text} {rng.choice(collection.passages)}".strip()
        texts.append(text)
    return texts


def write(path: Path, content: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in content)


def prepare(collections: Sequence[Collection], teacher: Teacher, work: Path) -> None:
    """Writes rows, vectors and base into the work folder."""
    passages = {c.name: teacher.vectors(c.passages, f"{c.name}: passages") for c in collections}
    for name, chosen in (("thoughts", lambda c: c.name != "squad"), ("squad", lambda c: c.name == "squad")):
        rows = (row for c in collections if chosen(c) for row in question_rows(c, passages[c.name], teacher))
        write(work / f"{name}.jsonl", rows)
    texts, reviews = [text for c in collections for text in c.passages], set[str]()
    for collection in collections:
        reviews |= {collection.passages[number] for number in collection.reviews}
    long = joined(collections)
    write(work / "passages.jsonl", passage_rows([text for text in texts if text not in reviews]))
    write(work / "reviews.jsonl", passage_rows(sorted(reviews)))
    write(work / "long.jsonl", passage_rows(long))
    vectors = [*passages.values(), teacher.vectors(long, "joined passages")]
    write_text_vectors(work / "teacher", teacher.key, [*texts, *long], np.concatenate(vectors))
    if not (work / "base").exists():
        causal_minilm(random.Random(0).sample(texts, min(COUNTED, len(texts)))).save_pretrained(work / "base")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--thoughts", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    prepare(load(args.data, args.thoughts), Teacher(args.work / "vectors"), args.work)


if __name__ == "__main__":
    main()
