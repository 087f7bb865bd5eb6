"""Runs in TREC's order and file format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from o1_retriever.search import Run
from o1_retriever.storage import write_whole


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Passage ids, best first; equal scores in descending order of ids, as trec_eval sorts them.

    >>> ranking({"a": 1.0, "b": 2.0, "c": 1.0})
    ['b', 'c', 'a']
    """
    return sorted(scores, key=lambda passage: (scores[passage], passage), reverse=True)


def write_run(path: Path, run: Run, tag: str) -> None:
    """Writes lines of `query Q0 passage rank score tag`; scores keep every digit of float32.

    Raises:
        StorageError: the disk refuses.
    """
    lines = [
        f"{query} Q0 {passage} {rank} {scores[passage]:.9g} {tag}\n"
        for query, scores in run.items()
        for rank, passage in enumerate(ranking(scores), start=1)
    ]
    write_whole(path, "".join(lines).encode())
