"""What `o1 train` needs to make the next version of the bundled model: a base that can be trained, and rows.

    python prepare.py --data $O1_DATA/data --thoughts $O1_DATA/thoughts --work WORK
    o1 train --config train.yaml --model.base WORK/base --data.files '[WORK/thoughts.jsonl, ...]' --output OUT

The base is all-MiniLM-L6-v2 as a causal LM: identity head, output bias from token frequencies. Rows: every question
once per thought (recorded candidates, and the sentence of a positive that is nearest to the question), hard negatives
from the teacher's ranking; and every passage once, found by its first sentence, for the teacher's and the passages'
terms.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from data import TrainData, TrainQuery, load, sentences
from teacher import Teacher, attach_extractive, passage_vectors, query_vectors
from train import SERVING, causal_minilm, start_from_unigrams

from o1_retriever import Checkpoint, O1Embedder
from o1_retriever.search import exact_search

DEPTH, NEGATIVES, MAX_SHARE = 40, 8, 0.95
"""Passages looked at per question, negatives kept, share of the positive's score above which one may be right."""


def negatives(data: TrainData, queries: np.ndarray, passages: np.ndarray) -> Iterator[list[int]]:
    """Near misses of each question by the teacher, nearest first."""
    for start in range(0, len(queries), 512):
        part = queries[start : start + 512]
        scores, found = exact_search(part, passages, DEPTH)
        for query, vector, row, near in zip(data.all_queries()[start:], part, found, scores, strict=False):
            best = max(float(vector @ passages[p]) for p in query.positives) if query.positives else 0.0
            kept = [int(p) for p, s in zip(row, near, strict=True) if p not in query.positives and s < MAX_SHARE * best]
            yield kept[:NEGATIVES]


def rows(data: TrainData, query: TrainQuery, near: list[int]) -> Iterator[dict[str, Any]]:
    """The question once per thought; SQuAD's, which has none from a language model, with the sentence."""
    for thought in [*query.candidates, *query.extractive[:1]]:
        yield {
            "query": query.text,
            "pos": [data.passages[p] for p in query.positives],
            "neg": [data.passages[p] for p in near],
            "thought": thought,
        }


def passage_rows(data: TrainData) -> Iterator[dict[str, Any]]:
    """Every passage, asked for by its first sentence."""
    for passage in data.passages:
        first = next(iter(sentences(passage)), "")
        if first and len(passage) > len(first) + 20:
            yield {"query": first, "pos": [passage], "neg": [], "thought": ""}


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
    data, teacher = load(args.data, args.thoughts), Teacher()
    passages, questions = passage_vectors(teacher, data, args.work), query_vectors(teacher, data, args.work)
    attach_extractive(teacher, data, questions, args.work)
    near = list(negatives(data, questions.numpy(), passages.numpy()))
    for name, wanted in (("thoughts", lambda q: q.dataset != "squad"), ("squad", lambda q: q.dataset == "squad")):
        chosen = [(q, n) for q, n in zip(data.all_queries(), near, strict=True) if wanted(q) and q.positives]
        write(args.work / f"{name}.jsonl", (row for query, found in chosen for row in rows(data, query, found)))
    write(args.work / "passages.jsonl", passage_rows(data))
    model, tokenizer = causal_minilm()
    embedder = O1Embedder(Checkpoint.from_objects(model, tokenizer, SERVING))
    start_from_unigrams(embedder, random.Random(0).sample(data.passages, min(5000, len(data.passages))))
    embedder.save_pretrained(args.work / "base")


if __name__ == "__main__":
    main()
