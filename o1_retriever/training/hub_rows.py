"""Training rows of datasets of the Hugging Face hub, which the library `datasets` downloads and maps into memory."""

from __future__ import annotations

import hashlib
import importlib
import json
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from o1_retriever.errors import DatasetError, MissingDependencyError
from o1_retriever.training.row import TrainingRow, parse_row
from o1_retriever.training.rows import TrainingRows


class HubRows(TrainingRows):
    """As `TrainingRows`; the keys of `digests` are the names as given, a row's place is `owner/name:row 17`, from 0."""

    @classmethod
    def open(cls, names: Sequence[str | Path], max_bad: int = 0) -> HubRows:
        """Loads the split `train` of every dataset and checks every row.

        Args:
            names: `owner/name`, `owner/name@revision`, or a folder that `load_dataset` reads.
            max_bad: how many bad rows are left out before it is an error.

        Raises:
            DatasetError: a dataset cannot be loaded, more rows are bad, or no row is good.
            MissingDependencyError: the package `datasets` is not installed.
        """
        rows = cls()
        rows._survey([HubDataset(str(name)) for name in names], max_bad)
        return rows


class HubDataset:
    """Which rows of one dataset are good."""

    def __init__(self, name: str) -> None:
        self.name = name
        path, _, revision = (name, "", "") if Path(name).is_dir() else name.partition("@")
        self._source, self._dataset = path, _load(path, revision or None)
        self._places: NDArray[np.uint64] = np.empty(0, np.uint64)

    def survey(self, note: Callable[[TrainingRow | DatasetError], None]) -> str:
        """See `rows.Part`. The digest is of the rows as JSON, whatever files they came in."""
        digest, places = hashlib.sha256(), array("Q")
        for place, raw in enumerate(self._dataset):
            digest.update(json.dumps(raw, sort_keys=True, default=str).encode() + b"\n")
            try:
                found: TrainingRow | DatasetError = self._parse(raw, place)
                places.append(place)
            except DatasetError as error:
                found = error
            note(found)
        self._places = np.array(places, dtype=np.uint64)
        return digest.hexdigest()

    def row(self, number: int) -> TrainingRow:
        """See `rows.Part`."""
        place = int(self._places[number])
        return self._parse(self._dataset[place], place)

    def _parse(self, raw: object, place: int) -> TrainingRow:
        return parse_row(raw, f"{self.name}:row {place}", self._source)


def _load(path: str, revision: str | None) -> Any:
    try:
        # not by an import statement: it has no types, and a type checker may run where it is not installed
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is no file, and a dataset of the hub needs datasets: pip install 'o1-retriever[train]'"
        ) from error
    try:
        return datasets.load_dataset(path, split="train", revision=revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise DatasetError(
            f"{path} is no file, and no split 'train' of such a dataset could be loaded: {error} "
            "Check the name, or download the data and name its .jsonl file."
        ) from error
