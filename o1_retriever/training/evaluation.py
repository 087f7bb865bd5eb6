"""Retrieval quality during training: nDCG@10 on a small judged collection held in memory, searched exactly.

Knows embedders and files in BEIR form; nothing of trainers, losses or checkpoints.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from o1_retriever.beir import Passage, Qrels, Query, read_corpus, read_qrels, read_queries
from o1_retriever.config import require, require_int
from o1_retriever.embedder import O1Embedder
from o1_retriever.errors import DatasetError
from o1_retriever.metrics import ndcg_at_k
from o1_retriever.search import exact_search

DEPTH = 10
"""Passages per query that count: nDCG@10."""

SEED = 0
"""Of the choice of queries and passages, so that every run and every model is measured on the same ones."""


@dataclass(frozen=True)
class EvaluationData:
    """One split of a data set in BEIR form, or a part of it.

    Attributes:
        name: of the data's folder.
        query_ids: B ids, each with a judgement.
        queries: their B texts.
        passage_ids: N ids; every relevant passage of these queries is among them.
        passages: their N texts, title and text as they are embedded.
        qrels: judgements of these queries.
    """

    name: str
    query_ids: list[str]
    queries: list[str]
    passage_ids: list[str]
    passages: list[str]
    qrels: Qrels

    def __post_init__(self) -> None:
        require(len(self.query_ids) == len(self.queries), "query_ids and queries must be of one length.")
        require(len(self.passage_ids) == len(self.passages), "passage_ids and passages must be of one length.")
        require(bool(self.queries) and bool(self.passages), "evaluation needs at least one query and one passage.")
        unjudged = [query for query in self.query_ids if not self.qrels.get(query)]
        require(not unjudged, f"every query needs a judgement, {unjudged[:3]} have none.")

    @classmethod
    def read(
        cls, folder: Path, split: str, max_queries: int | None = None, max_passages: int | None = None
    ) -> EvaluationData:
        """Reads a split, or a part of it that is the same every time: a larger part holds the smaller one's queries.

        Args:
            folder: in BEIR form.
            split: of the judgements.
            max_queries: that many judged queries at most, the first of a seeded shuffle; None takes all.
            max_passages: that many passages at most, all relevant ones and a seeded sample of the others; None takes
                all. Fewer passages make the search easier: compare figures of equal limits only.

        Raises:
            DatasetError: something is missing, malformed, empty or there twice, or the relevant passages alone are
                more than `max_passages`; the message names it.
        """
        for name, limit in (("max_queries", max_queries), ("max_passages", max_passages)):
            if limit is not None:
                require_int(name, limit, 1)
        queries, qrels = _judged_queries(folder, split, max_queries)
        passages = _passages(folder, {passage for judged in qrels.values() for passage in judged}, max_passages)
        return cls(
            name=folder.resolve().name,
            query_ids=[query.id for query in queries],
            queries=[query.text for query in queries],
            passage_ids=[passage.id for passage in passages],
            passages=[passage.full_text for passage in passages],
            qrels=qrels,
        )


def evaluate(
    embedder: O1Embedder, data: EvaluationData, num_thoughts: Sequence[int], show_progress: bool = False
) -> dict[str, float]:
    """Mean nDCG@10 for each number of thoughts. The same weights give the same figures: dropout is off meanwhile.

    Args:
        embedder: what is measured; its model may be in the middle of training.
        data: queries, passages and judgements.
        num_thoughts: numbers of thoughts per query; 0 searches with the query alone.
        show_progress: a bar on stderr while passages are encoded.

    Returns:
        `ndcg@10_k{number}` for each number, and `seconds`, the time it all took.
    """
    require(len(num_thoughts) > 0, "num_thoughts must name at least one number of thoughts, like [0, 3].")
    start, results = time.perf_counter(), {}
    with _without_dropout(embedder.model):
        passages = embedder.encode_document(data.passages, show_progress=show_progress)
        for number in num_thoughts:
            queries = embedder.encode_query(data.queries, num_thoughts=number)
            _, indices = exact_search(queries, passages, DEPTH)
            results[f"ndcg@{DEPTH}_k{number}"] = _mean_ndcg(data, indices.tolist())
    return results | {"seconds": time.perf_counter() - start}


def _mean_ndcg(data: EvaluationData, rows: Iterable[Sequence[int]]) -> float:
    """`rows` holds the indices of the passages found for each query, best first."""
    values = [
        ndcg_at_k([data.passage_ids[index] for index in row], data.qrels[query], DEPTH)
        for query, row in zip(data.query_ids, rows, strict=True)
    ]
    return sum(values) / len(values)


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every module is in the mode it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _judged_queries(folder: Path, split: str, limit: int | None) -> tuple[list[Query], Qrels]:
    qrels = read_qrels(folder, split)
    path = folder / "queries.jsonl"
    queries = read_queries(folder, qrels)
    lacking = qrels.keys() - {query.id for query in queries}
    if lacking:
        raise DatasetError(f"{path} lacks {len(lacking)} judged queries, like {min(lacking)!r}.")
    if not queries:
        raise DatasetError(f"{folder}: no query has a relevant passage in split {split!r}.")
    _check(((query.id, query.text) for query in queries), path)
    if limit is not None:
        random.Random(SEED).shuffle(queries)
        queries = queries[:limit]
    return queries, {query.id: qrels[query.id] for query in queries}


def _passages(folder: Path, relevant: Collection[str], limit: int | None) -> list[Passage]:
    """All passages in the file's order, or all relevant ones and a sample of the others."""
    if limit is not None and len(relevant) > limit:
        raise DatasetError(
            f"{folder}: the chosen queries have {len(relevant)} relevant passages, more than max_passages={limit}: "
            "raise it, or lower max_queries."
        )
    path = folder / "corpus.jsonl"
    passages = list(read_corpus(folder)) if limit is None else _sample(read_corpus(folder), relevant, limit)
    _check(((passage.id, passage.full_text) for passage in passages), path)
    lacking = set(relevant) - {passage.id for passage in passages}
    if lacking:
        raise DatasetError(f"{path} lacks {len(lacking)} relevant passages, like {min(lacking)!r}.")
    return passages


def _sample(passages: Iterable[Passage], relevant: Collection[str], limit: int) -> list[Passage]:
    """Holds `limit` passages in memory, however many there are: those of lowest rank, relevant ones before all."""
    draw = random.Random(SEED).random

    def ranked() -> Iterator[tuple[float, int, Passage]]:
        for position, passage in enumerate(passages):
            rank = draw()
            yield (-1.0 if passage.id in relevant else rank), position, passage

    def order(row: tuple[float, int, Any]) -> tuple[float, int]:
        return row[:2]

    chosen = heapq.nsmallest(limit, ranked(), key=order)
    return [passage for _, _, passage in sorted(chosen, key=lambda row: row[1])]


def _check(rows: Iterable[tuple[str, str]], path: Path) -> None:
    """Ids are all different, and there is text to embed."""
    counts: Counter[str] = Counter()
    for identifier, text in rows:
        counts[identifier] += 1
        if not text.strip():
            raise DatasetError(f"{path}: {identifier!r} has no text: leave it out.")
    twice = [identifier for identifier, count in counts.items() if count > 1]
    if twice:
        raise DatasetError(f"{path}: {len(twice)} ids are there more than once, like {twice[0]!r}.")
