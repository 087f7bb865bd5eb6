"""Thinkers turn queries into K texts each. The seam between where thoughts come from and how they are embedded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from o1_retriever.errors import DatasetError, InvalidInputError, InvalidTypeError, ThinkerError
from o1_retriever.fingerprints import digest
from o1_retriever.prompts import check_encodable


@runtime_checkable
class Thinker(Protocol):
    """Anything that turns queries into K thoughts each.

    Raise `ThinkerError` for permanent errors and `TransientThinkerError` for those that may pass.
    """

    @property
    def fingerprint(self) -> str:
        """Changes whenever the thoughts of the same queries would."""

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """Returns `num_thoughts` texts for each query; `evidence` are passages that a first search found for it."""


def thoughts_of(
    thinker: Thinker, texts: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None
) -> list[list[str]]:
    """What a thinker returns, checked: fewer thoughts than asked for would pass for fewer wanted."""
    thoughts = check_thoughts(thinker.think(texts, num_thoughts, evidence), len(texts))
    for text, row in zip(texts, thoughts, strict=True):
        if len(row) != num_thoughts:
            raise ThinkerError(f"The thinker returned {len(row)} thoughts for {text[:80]!r}, not {num_thoughts}.")
    return thoughts


def check_thoughts(thoughts: Sequence[Sequence[str]], queries: int) -> list[list[str]]:
    """One list of texts per query, or an error that says which is not."""
    if not _is_list(thoughts) or not all(_is_list(row) for row in thoughts):
        raise InvalidTypeError(f"thoughts must be one list of texts per query, got {thoughts!r:.80}.")
    if len(thoughts) != queries:
        raise InvalidInputError(f"thoughts must be one list of texts per query: {queries} lists, got {len(thoughts)}.")
    for row, texts in enumerate(thoughts):
        for text in texts:
            if not isinstance(text, str):
                raise InvalidTypeError(f"a thought of query {row} is {type(text).__name__}, not a string.")
            check_encodable(text, f"a thought of query {row}")
    return [list(row) for row in thoughts]


def per_query(thoughts: Sequence[str] | Sequence[Sequence[str]], single: bool) -> list[Sequence[str]]:
    """One list of texts per query; for a single query its K texts may stand alone."""
    if not _is_list(thoughts):
        raise InvalidTypeError(f"thoughts must be a list, got {type(thoughts).__name__}: {thoughts!r:.80}.")
    bare = [thought for thought in thoughts if isinstance(thought, str)]
    return [bare] if single and len(bare) == len(thoughts) else list(thoughts)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


class RecordedThoughts:
    """Thoughts written down before, looked up by the query's exact text.

    Args:
        thoughts: query to its thoughts, best first.

    >>> RecordedThoughts({"who?": ["Ada.", "Grace."]}).think(["who?"], 1)
    [['Ada.']]
    """

    def __init__(self, thoughts: Mapping[str, Sequence[str]]) -> None:
        self._thoughts = {query: list(texts) for query, texts in thoughts.items()}
        self.fingerprint = digest("recorded", sorted(self._thoughts.items()))

    @classmethod
    def from_file(cls, path: str | Path) -> RecordedThoughts:
        """Reads JSONL rows `{"query", "candidates" | "thoughts": [...]}` or `{"query", "thought": "..."}`.

        Raises:
            DatasetError: the file is missing or a line has another form; the message names the line.
        """
        thoughts: dict[str, list[str]] = {}
        for query, texts in _read_rows(Path(path)):
            if thoughts.setdefault(query, texts) != texts:
                raise DatasetError(f"{path} has two rows with different thoughts for {query[:80]!r}: keep one of them.")
        return cls(thoughts)

    def __contains__(self, query: str) -> bool:
        return query in self._thoughts

    def think(
        self, queries: Sequence[str], num_thoughts: int, evidence: Sequence[Sequence[str]] | None = None
    ) -> list[list[str]]:
        """The first `num_thoughts` recorded texts of each query.

        Raises:
            ThinkerError: a query has fewer.
        """
        return [self._of(query, num_thoughts) for query in queries]

    def up_to(self, query: str, num_thoughts: int) -> list[str]:
        """As many of a query's texts as there are, `num_thoughts` at most; none for an unknown query."""
        return self._thoughts.get(query, [])[:num_thoughts]

    def _of(self, query: str, num_thoughts: int) -> list[str]:
        texts = self._thoughts.get(query, [])
        if len(texts) < num_thoughts:
            raise ThinkerError(
                f"{len(texts)} thoughts are recorded for {query[:80]!r}, {num_thoughts} were asked for: "
                "record more or lower num_thoughts."
            )
        return texts[:num_thoughts]


def _read_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"Recorded thoughts cannot be read from {path}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _parse_row(line, f"{path}:{number}")


def _parse_row(line: str, where: str) -> tuple[str, list[str]]:
    try:
        row = json.loads(line)
        texts = row.get("candidates") or row.get("thoughts") or [row["thought"]]
        if not isinstance(row["query"], str) or not isinstance(texts, list):
            raise TypeError("query must be a string, candidates and thoughts lists")
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("thoughts must be strings")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{where}: expected {{'query', 'candidates' | 'thoughts' | 'thought'}}: {error!r}"
        ) from error
    return row["query"], list(texts)
