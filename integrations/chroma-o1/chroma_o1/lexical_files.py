"""A lexical index of passages with their ids: made from texts, kept in a folder, read back. Knows nothing of Chroma.

A folder of a given name is written once, under another name first, and never changed: whoever finds it finds it whole,
after a kill and with several processes that write the same one at once.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from o1_retriever.lexical import LexicalIndex, load_bm25s

DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError)
"""What reading half-written or foreign files raises."""
_IDS = "ids.json"
_NEW = "new-"
_OLD = 3600.0  # seconds after which an unfinished folder is nobody's work any more


class SavedLexicalIndex(LexicalIndex):
    """The engine's lexical index, with a way to disk and back."""

    def save(self, folder: Path) -> None:
        """Writes the index into a folder that exists."""
        self._index.save(str(folder), show_progress=False)

    @classmethod
    def load(cls, folder: Path, passages: int) -> SavedLexicalIndex:
        """An index of so many passages that `save` wrote.

        Raises:
            `DAMAGED`: the files are not there or damaged.
        """
        found = cls.__new__(cls)
        found._bm25s, found._passages = load_bm25s(), passages
        found._index = found._bm25s.BM25.load(str(folder), show_progress=False)
        if found._index.scores["num_docs"] != passages:
            raise ValueError(f"{folder} holds {found._index.scores['num_docs']} passages, not {passages}")
        return found


class Words:
    """The words of N passages, as they were at one moment.

    Args:
        ids: of the passages.
        index: of their texts in the same order; None if no text has a word that counts.
    """

    def __init__(self, ids: Sequence[str], index: SavedLexicalIndex | None) -> None:
        self.ids, self._index = list(ids), index

    @classmethod
    def of(cls, ids: Sequence[str], texts: Sequence[str]) -> Words:
        """Indexes passages."""
        return cls(ids, SavedLexicalIndex(texts) if _have_words(texts) else None)

    @cached_property
    def rows(self) -> dict[str, int]:
        """id -> position."""
        return {i: row for row, i in enumerate(self.ids)}

    def scores(self, query: str) -> NDArray[np.float32]:
        """(N,) BM25 score of every passage; 0 where no word is shared."""
        if self._index is None:
            return np.zeros(len(self.ids), dtype=np.float32)
        return self._index.scores(query)

    def save(self, folder: Path) -> None:
        """Makes a folder that appears whole, and removes the others beside it.

        Raises:
            OSError: the disk refuses; the others are still there.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        if not folder.exists():
            new = folder.with_name(f"{_NEW}{uuid.uuid4().hex}")
            try:
                new.mkdir()
                if self._index is not None:
                    self._index.save(new)
                (new / _IDS).write_text(json.dumps(self.ids), encoding="utf-8")
                new.replace(folder)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        for other in folder.parent.iterdir():
            if other != folder and not _in_the_making(other):
                shutil.rmtree(other, ignore_errors=True)

    @classmethod
    def load(cls, folder: Path) -> Words:
        """What `save` wrote.

        Raises:
            `DAMAGED`: it is not there or damaged.
        """
        ids = json.loads((folder / _IDS).read_text(encoding="utf-8"))
        empty = [path.name for path in folder.iterdir()] == [_IDS]
        return cls(ids, None if empty else SavedLexicalIndex.load(folder, len(ids)))


def best_rows(scores: NDArray[np.float32], count: int) -> list[int]:
    """Positions of the `count` highest scores above 0, best first; ties in order of position.

    >>> best_rows(np.array([0.0, 1.0, 3.0, 1.0], dtype=np.float32), 2)
    [2, 1]
    """
    found = np.flatnonzero(scores > 0)
    return [int(row) for row in found[np.argsort(-scores[found], kind="stable")[:count]]]


def _have_words(texts: Iterable[str]) -> bool:
    """Whether any text has a word that is no stop word: bm25s cannot index a corpus without."""
    bm25s = load_bm25s()
    return any(bm25s.tokenize([text], stopwords="english", show_progress=False).vocab for text in texts)


def _in_the_making(folder: Path) -> bool:
    """Whether another process may be writing it right now."""
    try:
        return folder.name.startswith(_NEW) and time.time() - folder.stat().st_mtime < _OLD
    except OSError:
        return True  # it has just got its name
