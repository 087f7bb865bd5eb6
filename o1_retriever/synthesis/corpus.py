"""A corpus on disk as a sequence of texts: millions of passages, of which only the asked-for ones are in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from o1_retriever.beir import Passage, parse_passage
from o1_retriever.errors import DatasetError
from o1_retriever.storage import disk_errors


class CorpusFile(Sequence[str]):
    """The passages of a JSONL file in BEIR form: `corpus[row]` is title and text, as they are embedded.

    Args:
        path: rows `{"_id", "title", "text"}`; they must not change while this object is used.

    Attributes:
        ids: of all passages, in the file's order.
        row_of: id -> row.

    Raises:
        DatasetError: the file cannot be read, holds no passage, a line is not one, or an id is there twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids: list[str] = []
        self._offsets: list[int] = []
        for offset, passage in self._scan():
            self.ids.append(passage.id)
            self._offsets.append(offset)
        self.row_of = {identity: row for row, identity in enumerate(self.ids)}
        if not self.ids:
            raise DatasetError(f"{path} holds no passage.")
        if len(self.row_of) < len(self.ids):
            twice = next(identity for row, identity in enumerate(self.ids) if self.row_of[identity] != row)
            raise DatasetError(f"{path} has two passages with the id {twice!r}: ids must be unique.")

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return list(self._read(range(len(self))[index]))
        return next(self._read([range(len(self))[index]]))

    def __iter__(self) -> Iterator[str]:
        for _, passage in self._scan():
            yield passage.full_text

    def _read(self, rows: Sequence[int]) -> Iterator[str]:
        with disk_errors(self.path), self.path.open("rb") as file:
            for row in rows:
                file.seek(self._offsets[row])
                yield parse_passage(json.loads(file.readline()), f"{self.path}, passage {row + 1}").full_text

    def _scan(self) -> Iterator[tuple[int, Passage]]:
        """(offset of its line, passage) of every line that is not blank."""
        offset = 0
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield offset, _parse(line, f"{self.path}:{number}")
                    offset += len(line)
        except OSError as error:
            raise DatasetError(f"{self.path} cannot be read: {error}") from error


def _parse(line: bytes, where: str) -> Passage:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DatasetError(f"{where}: not JSON: {error}") from error
    return parse_passage(row, where)
