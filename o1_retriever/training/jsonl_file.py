"""One JSONL file of training rows: checked once, then read a row at a time by its place. Only an index is in memory."""

from __future__ import annotations

import codecs
import hashlib
import json
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from o1_retriever.errors import DatasetError
from o1_retriever.training.row import TrainingRow, parse_row


class Part(Protocol):
    """One file or dataset of rows."""

    name: str

    def survey(self, note: Callable[[TrainingRow | DatasetError], None]) -> str:
        """Makes the one pass: gives every row, or why it is none, to `note`; returns a SHA-256 of the content."""

    def row(self, number: int) -> TrainingRow:
        """The good row of this number."""


class JsonlFile:
    """Where the good rows of one file are. It holds no open handle: workers that share one would move each other's."""

    def __init__(self, path: Path) -> None:
        self.name, self._path = str(path), path
        self._places: NDArray[np.uint64] = np.empty((0, 3), np.uint64)  # offset, line, checksum

    def survey(self, note: Callable[[TrainingRow | DatasetError], None]) -> str:
        """See `Part`."""
        digest, offset, places = hashlib.sha256(), 0, array("Q")
        with _file_errors(self._path), self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                digest.update(line)
                if line.removeprefix(codecs.BOM_UTF8).strip():
                    found = self._found(line, number)
                    note(found)
                    if isinstance(found, TrainingRow):
                        places.extend((offset, number, _checksum(line)))
                offset += len(line)
        self._places = np.array(places, dtype=np.uint64).reshape(-1, 3)
        return digest.hexdigest()

    def row(self, number: int) -> TrainingRow:
        """See `Part`.

        Raises:
            DatasetError: the file is not what it was at the survey.
        """
        offset, line_number, checksum = map(int, self._places[number])
        with _file_errors(self._path), self._path.open("rb") as file:
            file.seek(offset)
            line = file.readline()
        if _checksum(line) != checksum:
            raise DatasetError(
                f"{self._path}:{line_number}: the file changed while training: leave it alone and start again."
            )
        return self._parse(line, line_number)

    def _found(self, line: bytes, number: int) -> TrainingRow | DatasetError:
        try:
            return self._parse(line, number)
        except DatasetError as error:
            return error

    def _parse(self, line: bytes, number: int) -> TrainingRow:
        where = f"{self._path}:{number}"
        try:
            raw = json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise DatasetError(f"{where}: not UTF-8 ({error}): save the file as UTF-8.") from error
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{where}: not JSON: {error}. Each line must hold one whole object.") from error
        return parse_row(raw, where, self._path.stem)


def _checksum(line: bytes) -> int:
    return zlib.crc32(line.rstrip())  # a last line may be given its line end later


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}. Leave the file in its place while training.") from error


def check_file(path: Path) -> None:
    """Refuses what cannot be read by offsets, before any other file is read for hours."""
    if not path.exists():
        raise DatasetError(f"{path}: no such file: name a JSONL file, or a dataset of the hub as owner/name.")
    if not path.is_file():
        raise DatasetError(f"{path} is no regular file: name the .jsonl files themselves.")
    with _file_errors(path), path.open("rb") as file:
        if path.suffix == ".gz" or file.read(2) == b"\x1f\x8b":
            raise DatasetError(
                f"{path} is compressed, its rows cannot be read one by one: decompress it first (gunzip)."
            )
