"""Reads data in BEIR form: `corpus.jsonl`, `queries.jsonl`, `qrels/{split}.tsv`. Knows files, nothing of models."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from o1_retriever.errors import DatasetError

Qrels = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Passage:
    """One row of `corpus.jsonl`."""

    id: str
    title: str
    text: str

    @property
    def full_text(self) -> str:
        """Title and text as they are embedded (BEIR's convention: joined by a space)."""
        return f"{self.title} {self.text}".strip()


@dataclass(frozen=True)
class Query:
    """One row of `queries.jsonl`."""

    id: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)


def read_corpus(folder: Path) -> Iterator[Passage]:
    """Passages of `corpus.jsonl`, one at a time.

    Raises:
        DatasetError: the file is missing or a line is not a passage; the message names the line.
    """
    for where, row in read_jsonl(folder / "corpus.jsonl"):
        yield parse_passage(row, where)


def parse_passage(row: object, where: str) -> Passage:
    """A passage from its JSON object.

    Args:
        row: what the line held.
        where: file and line, for messages.

    Raises:
        DatasetError: it is none.
    """
    if not isinstance(row, dict):
        raise DatasetError(f"{where}: expected a JSON object, got {type(row).__name__}.")
    try:
        return Passage(str(row["_id"]), str(row.get("title") or ""), _text(row, where))
    except KeyError as error:
        raise DatasetError(f"{where}: a passage needs '_id' and 'text', {error} is missing.") from error


def read_queries(path: Path, qrels: Qrels | None = None) -> list[Query]:
    """Queries of a file, or of `queries.jsonl` in a folder; with `qrels`, only those judged there.

    Raises:
        DatasetError: the file is missing or a line is not a query; the message names the line.
    """
    queries = []
    for where, row in read_jsonl(path / "queries.jsonl" if path.is_dir() else path):
        try:
            query = Query(str(row["_id"]), _text(row, where), row.get("metadata") or {})
        except KeyError as error:
            raise DatasetError(f"{where}: a query needs '_id' and 'text', {error} is missing.") from error
        if qrels is None or query.id in qrels:
            queries.append(query)
    return queries


def read_qrels(folder: Path, split: str) -> Qrels:
    """Judgements of one split: query id -> passage id -> score. Rows of score 0 or less are left out.

    Raises:
        DatasetError: there is no such split, or a row is malformed.
    """
    path = folder / "qrels" / f"{split}.tsv"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.tsv"))
        raise DatasetError(f"There are no judgements at {path}; splits here: {known or 'none'}.")
    return read_qrels_file(path)


def read_qrels_file(path: Path) -> Qrels:
    """Judgements of one file; see `read_qrels`.

    Raises:
        DatasetError: the file cannot be read, or a row is malformed.
    """
    qrels: Qrels = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
                if row and not (number == 1 and row[0] == "query-id"):
                    query, passage, score = _judgement(row, f"{path}:{number}")
                    if score > 0:
                        qrels.setdefault(query, {})[passage] = score
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    return qrels


def _judgement(row: list[str], where: str) -> tuple[str, str, int]:
    try:
        query, passage, score = row
        return query, passage, int(score)
    except ValueError as error:
        raise DatasetError(f"{where}: rows must be query-id, corpus-id, score (a whole number): {error}") from error


def _text(row: dict[str, Any], where: str) -> str:
    text = row["text"]
    if not isinstance(text, str):
        raise DatasetError(f"{where}: 'text' must be a string, got {type(text).__name__}.")
    for value in (text, str(row["_id"]), str(row.get("title") or "")):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise DatasetError(f"{where}: a lone surrogate is no text: decode the file with errors='replace' first.")
    return text


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`path:line`, object) of each line that is not blank.

    Raises:
        DatasetError: the file cannot be read or a line is no JSON object; the message names the line.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}:{number}", _parse_object(line, f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error


def _parse_object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DatasetError(f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise DatasetError(f"{where}: expected a JSON object, got {type(row).__name__}.")
    return row
