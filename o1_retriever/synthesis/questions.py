"""What is synthesised for: queries with their positives in a corpus. Bad rows cost nothing: counted or refused."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from o1_retriever.beir import Qrels, read_queries
from o1_retriever.errors import DatasetError


@dataclass(frozen=True)
class Question:
    """A query to find thoughts and negatives for.

    Attributes:
        id: of the query.
        text: its text.
        positives: rows of its positives in the corpus, best judged first.
    """

    id: str
    text: str
    positives: tuple[int, ...]


@dataclass(frozen=True)
class Questions:
    """The queries that can be worked on.

    Attributes:
        rows: in the order of the file.
        skipped: reason -> how many queries are left out.
    """

    rows: list[Question]
    skipped: Counter[str]


def read_questions(path: Path, qrels: Qrels, row_of: Mapping[str, int]) -> Questions:
    """Queries of a BEIR file with their positives.

    Args:
        path: rows `{"_id", "text"}`, or a folder with `queries.jsonl`.
        qrels: judgements; queries without any are skipped and counted.
        row_of: passage id -> row of the corpus.

    Raises:
        DatasetError: an id is there twice, or no query at all has a positive in this corpus.
    """
    rows: list[Question] = []
    skipped: Counter[str] = Counter()
    queries = read_queries(path)
    twice = [identity for identity, count in Counter(query.id for query in queries).items() if count > 1]
    if twice:
        raise DatasetError(
            f"{path} has {len(twice)} query ids more than once, like {twice[0]!r}: a training row could not tell "
            "its query. Make the ids unique."
        )
    for query in queries:
        judged = sorted(qrels.get(query.id, {}).items(), key=lambda item: -item[1])
        positives = tuple(row_of[passage] for passage, _ in judged if passage in row_of)
        skipped["positive missing from the corpus"] += len(judged) - len(positives) if positives else 0
        if not query.text.strip():
            skipped["empty query"] += 1
        elif not judged:
            skipped["no positives"] += 1
        elif not positives:
            skipped["no positive is in the corpus"] += 1
        else:
            rows.append(Question(query.id, query.text, positives))
    if not rows:
        raise DatasetError(
            f"None of the {len(queries)} queries of {path} has a positive in this corpus ({_told(skipped)}): "
            "check that queries, judgements and corpus belong together."
        )
    return Questions(rows, +skipped)


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason}: {count}" for reason, count in counts.items() if count)


@dataclass(frozen=True)
class Shard:
    """One process's part of the questions: number `index` of `count`, from 1, by a hash of the query's id."""

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise DatasetError(f"a shard is written I/N with 1 <= I <= N, got {self.index}/{self.count}.")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads `2/4`."""
        index, _, count = text.partition("/")
        if not (index.isdigit() and count.isdigit()):
            raise DatasetError(f"a shard is written I/N, like 2/4, got {text!r}.")
        return cls(int(index), int(count))

    @property
    def name(self) -> str:
        return f"{self.index}of{self.count}"

    def of(self, questions: Sequence[Question]) -> list[Question]:
        """The questions of this shard, in order."""
        return [q for q in questions if _hash(q.id) % self.count == self.index - 1]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).digest()[:8], "little")
