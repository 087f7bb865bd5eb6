"""Training rows of files or of the hub, by number: read from disk when a row is asked for.

Only an index stays in memory, so a file larger than memory trains. Knows files and their fields; knows nothing of
tokens, batches and losses.
"""

from __future__ import annotations

import logging
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from o1_retriever.errors import DatasetError
from o1_retriever.training.jsonl_file import JsonlFile, Part, check_file
from o1_retriever.training.row import TrainingRow

if TYPE_CHECKING:
    from o1_retriever.training.hub_rows import HubRows

logger = logging.getLogger(__name__)

KEPT, LOGGED, TOLD = 1000, 20, 3  # of the messages about bad rows
MOST_SOURCES = 2**16
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(@\S+)?", re.ASCII)


class TrainingRows:
    """The good rows of all files, in order, by number. It can be pickled, and its rows read by many processes.

    Attributes:
        bad: a message for each bad row, the first 1,000.
        bad_count: of all bad rows.
        sources: (N,) for each row its place in `source_names`.
        source_names: in the order of their first rows.
        digests: path as given -> SHA-256 of the file.
    """

    def __init__(self) -> None:
        self.bad: list[str] = []
        self.bad_count = 0
        self.sources: NDArray[np.uint16] = np.empty(0, np.uint16)
        self.source_names: list[str] = []
        self.digests: dict[str, str] = {}
        self._parts: list[Part] = []
        self._starts: list[int] = []

    @classmethod
    def open(cls, paths: Sequence[Path], max_bad: int = 0) -> TrainingRows:
        """Reads every file once and checks every row.

        Args:
            paths: of JSONL files.
            max_bad: how many bad rows are left out before it is an error.

        Raises:
            DatasetError: a file cannot be read, more rows are bad, or no row is good.
        """
        for path in paths:
            check_file(path)
        rows = cls()
        rows._survey([JsonlFile(path) for path in paths], max_bad)
        return rows

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> TrainingRow:
        """One row, read from the disk.

        Raises:
            DatasetError: the data changed since it was opened.
        """
        number = range(len(self))[index]
        part = bisect_right(self._starts, number) - 1
        return self._parts[part].row(number - self._starts[part])

    def __iter__(self) -> Iterator[TrainingRow]:
        return (self[index] for index in range(len(self)))

    def _survey(self, parts: Sequence[Part], max_bad: int) -> None:
        numbers: dict[str, int] = {}
        sources = array("H")

        def note(found: TrainingRow | DatasetError) -> None:
            if isinstance(found, DatasetError):
                self._refuse(found)
            else:
                sources.append(_number(found, numbers))

        for part in parts:
            self._starts.append(len(sources))
            self.digests[part.name] = part.survey(note)
        self._parts, self.source_names = list(parts), list(numbers)
        self.sources = np.array(sources, dtype=np.uint16)
        self._judge(max_bad)

    def _refuse(self, error: DatasetError) -> None:
        self.bad_count += 1
        if self.bad_count <= KEPT:
            self.bad.append(str(error))
        if self.bad_count <= LOGGED:
            logger.warning("bad row: %s", error)

    def _judge(self, max_bad: int) -> None:
        if self.bad_count:
            logger.warning("%d bad rows are left out, %d are good", self.bad_count, len(self))
        if self.bad_count > max_bad:
            raise DatasetError(
                f"{self.bad_count} bad rows, {max_bad} are allowed: raise max_bad_rows or mend the file. "
                f"The first: {' '.join(self.bad[:TOLD])}"
            )
        if not len(self):
            raise DatasetError(f"There is no training row in {list(self.digests) or 'no file'}: name files with rows.")


def _number(row: TrainingRow, numbers: dict[str, int]) -> int:
    number = numbers.setdefault(row.source, len(numbers))
    if number >= MOST_SOURCES:
        raise DatasetError(
            f"{row.where}: there are more than {MOST_SOURCES} sources: 'source' names a collection, not a row."
        )
    return number


def load_rows(sources: Sequence[str], max_bad: int = 0) -> TrainingRows | HubRows:
    """Rows of JSONL files or of datasets of the hub.

    Args:
        sources: paths, or names `owner/name` or `owner/name@revision`. What exists as a path is one.
        max_bad: how many bad rows are left out before it is an error.

    Raises:
        DatasetError: see `TrainingRows.open` and `HubRows.open`; or files and datasets of the hub are mixed.
        MissingDependencyError: a dataset of the hub is named and the package `datasets` is not installed.
    """
    hub = [source for source in sources if _is_hub_id(source)]
    if not hub:
        return TrainingRows.open([Path(source) for source in sources], max_bad)
    if len(hub) < len(sources):
        raise DatasetError(
            f"Files and datasets of the hub ({', '.join(hub)}) cannot be mixed: download those as JSONL."
        )
    from o1_retriever.training.hub_rows import HubRows

    return HubRows.open(hub, max_bad)


def _is_hub_id(source: str) -> bool:
    looks_like_file = Path(source).exists() or source.endswith((".json", ".jsonl", ".gz"))
    return not looks_like_file and _HUB_ID.fullmatch(source) is not None
