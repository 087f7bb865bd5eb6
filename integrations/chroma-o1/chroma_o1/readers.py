"""Files to passages: text, Markdown, JSONL, BEIR folders, and folders of these. Knows nothing of stores."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from chroma_o1.passages import TITLE, Passage, Scalar, check_passage
from o1_retriever.beir import read_jsonl
from o1_retriever.errors import DatasetError, InvalidInputError, InvalidTypeError

TEXT_SUFFIXES = (".txt", ".md", ".markdown")
SUFFIXES = (*TEXT_SUFFIXES, ".jsonl")
PASSAGE_WORDS = 180
_CORPUS = "corpus.jsonl"
_HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*\s*$")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def read_paths(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Passage]:
    """Passages of files and folders, in a fixed order.

    A folder with a `corpus.jsonl` is read as BEIR data (its corpus alone); of other folders every text, Markdown and
    JSONL file below them, hidden ones left out. `source_id` in a passage's metadata is the row's `_id`, or the file's
    name with the passage's number; `source` is the file.

    Raises:
        DatasetError: a path does not exist, holds nothing to read, or a line cannot be read; the message names it.
    """
    for path in paths:
        for file in _files(Path(path)):
            yield from read_rows(file) if file.suffix.lower() == ".jsonl" else read_text(file)


def read_rows(path: Path) -> Iterator[Passage]:
    """Rows `{"text", "title"?, "_id" or "id"?, ...}` of a JSONL file; simple further fields become metadata.

    Fields that are no text, number or truth value are left out, but for BEIR's `metadata`, whose simple fields count.

    Raises:
        DatasetError: a line is no such row; the message names file and line.
    """
    for position, (where, row) in enumerate(read_jsonl(path)):
        if "text" not in row:
            raise DatasetError(f"{where}: a row needs 'text'; it has {', '.join(sorted(row)) or 'nothing'}.")
        metadata = _simple(row.pop("metadata", None)) | _simple({k: v for k, v in row.items() if k != "text"})
        metadata["source_id"] = str(metadata.pop("_id", metadata.pop("id", f"{path.name}#{position}")))
        metadata["source"] = str(path)
        title = row.get("title")
        try:
            yield check_passage(Passage(row["text"], "" if title is None else title, metadata), position)
        except (InvalidInputError, InvalidTypeError) as error:
            raise DatasetError(f"{where}: {error}") from error


def read_text(path: Path) -> Iterator[Passage]:
    """A text or Markdown file in passages of about `PASSAGE_WORDS` words; the first heading is the title of each.

    Raises:
        DatasetError: the file cannot be read or is not UTF-8; the message names the line.
    """
    text = _decode(path)
    markdown = path.suffix.lower() != ".txt"
    headings = (_HEADING.match(line) for line in text.splitlines()) if markdown else ()
    title = next((match[1] for match in headings if match), path.stem)
    for position, passage in enumerate(split(text)):
        yield Passage(passage, title, {"source_id": f"{path.name}#{position}", "source": str(path)})


def split(text: str, words: int = PASSAGE_WORDS) -> Iterator[str]:
    """Whole paragraphs up to `words` words together; a longer paragraph is cut between sentences, or between words.

    >>> list(split("one two\\n\\nthree\\n\\nfour five six seven", words=3))
    ['one two\\n\\nthree', 'four five six', 'seven']
    """
    held: list[str] = []
    count = 0
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        for piece in _pieces(paragraph.strip(), words):
            size = len(piece.split())
            if held and count + size > words:
                yield "\n\n".join(held)
                held, count = [], 0
            held.append(piece)
            count += size
    if count:
        yield "\n\n".join(held)


def _pieces(paragraph: str, words: int) -> Iterator[str]:
    if len(paragraph.split()) <= words:
        yield paragraph
        return
    held: list[str] = []
    for sentence in _SENTENCE_END.split(paragraph):
        tokens = sentence.split()
        if held and len(held) + len(tokens) > words:
            yield " ".join(held)
            held = []
        held += tokens
        while len(held) > words:
            yield " ".join(held[:words])
            held = held[words:]
    if held:
        yield " ".join(held)


def _files(path: Path) -> Iterator[Path]:
    """The files to read for one path."""
    if path.is_dir():
        found = list(_walk(path))
        if not found:
            raise DatasetError(f"{path} holds no file to index: expected {', '.join(SUFFIXES)} files.")
        yield from found
    elif not path.exists():
        raise DatasetError(f"{path} does not exist.")
    elif path.suffix.lower() not in SUFFIXES:
        raise DatasetError(f"{path} cannot be indexed: expected a folder or a {', '.join(SUFFIXES)} file.")
    else:
        yield path


def _walk(folder: Path) -> Iterator[Path]:
    if (folder / _CORPUS).is_file():
        yield folder / _CORPUS
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():  # a link to a folder above would never end
            yield from _walk(entry)
        elif entry.is_file() and entry.suffix.lower() in SUFFIXES:
            yield entry


def _decode(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"{path}:{line}: not UTF-8 text: save the file as UTF-8.") from error


def _simple(fields: Any) -> dict[str, Scalar]:
    """The fields that a store can hold, without the title."""
    if not isinstance(fields, dict):
        return {}
    return {k: v for k, v in fields.items() if k and k != TITLE and isinstance(v, (str, int, float, bool))}
