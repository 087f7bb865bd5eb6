"""The lexical side of a collection: an index of its passages' words that is brought up to date when it is searched.

BM25 weighs a word by how many passages hold it, so every change of the collection changes every score: the index is
made anew at the first search after a change. It is kept in the store's folder under the hash of the ids it was made of.
The id of a passage of ours is the hash of its content, so equal ids mean an equal index, whatever happened in between:
a kill, other processes, a folder removed. (Where other programs put new text under an old id, that is not noticed.) A
server's store keeps the index in memory alone: its client has no folder beside it.

Whether the collection changed is asked at each search: by this object's own writes, and by the number of passages and
the ids of the last ones. Any passage that is added changes the latter, and one that is deleted the former.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chroma_o1.connection import Connection
from chroma_o1.lexical_files import DAMAGED, Words
from chroma_o1.passages import Passage
from chroma_o1.results import read_stored
from o1_retriever.lexical import DESCRIPTION

logger = logging.getLogger(__name__)
_TAIL = 64  # last ids that are looked at
_Stamp = tuple[int, tuple[str, ...]]


class LexicalSide:
    """Keeps the words of a connection's collection. Safe to use from several threads.

    Args:
        connection: to the collection; asked only when words are searched.
        page: passages read from it at once.
    """

    def __init__(self, connection: Connection, page: int) -> None:
        self._connection, self._page = connection, page
        self._lock = threading.Lock()
        self._last_write = object()
        self._known: tuple[object, _Stamp] | None = None
        self._name, self._words = "", Words([], None)

    def changed(self) -> None:
        """To be called after this process has written to the collection."""
        self._last_write = object()  # not a number: several threads write

    def words(self) -> Words:
        """The words as the collection is now.

        Raises:
            MissingDependencyError: bm25s is not installed.
            StoreError: Chroma cannot answer.
        """
        with self._lock:
            now = (self._last_write, self._stamp())
            if now != self._known:
                ids = self._all_ids()
                name = index_name(ids)
                if name != self._name:
                    self._words = self._load(name) or self._make(ids, name)
                    self._name = name if len(self._words.ids) == len(ids) else ""
                self._known = now  # read before the ids: what changed since then shows in the next comparison
            return self._words

    def _stamp(self) -> _Stamp:
        with self._connection.errors():
            count = int(self._connection.collection.count())
            tail: Any = self._connection.collection.get(limit=_TAIL, offset=max(0, count - _TAIL), include=[])
        return count, tuple(tail["ids"])

    def _all_ids(self) -> list[str]:
        with self._connection.errors():
            return list(self._connection.collection.get(include=[])["ids"])

    def _folder(self, name: str) -> Path | None:
        base = self._connection.lexical_folder
        return None if base is None else base / str(self._connection.collection.id) / name

    def _load(self, name: str) -> Words | None:
        folder = self._folder(name)
        if folder is None or not folder.is_dir():
            return None
        try:
            return Words.load(folder)
        except DAMAGED as error:
            logger.warning("lexical index %s cannot be read and is made again: %s", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
            return None

    def _make(self, ids: Sequence[str], name: str) -> Words:
        kept, texts = self._texts(ids)
        words = Words.of(kept, texts)
        folder = self._folder(name)
        if folder is not None and len(kept) == len(ids):
            try:
                words.save(folder)
            except OSError as error:
                logger.warning("lexical index %s cannot be written and stays in memory: %s", folder, error)
        return words

    def _texts(self, ids: Sequence[str]) -> tuple[list[str], list[str]]:
        """Ids and full texts; a passage that another client of a server has just deleted is left out."""
        kept: list[str] = []
        texts: list[str] = []
        for start in range(0, len(ids), self._page):
            with self._connection.errors():
                rows: Any = self._connection.collection.get(
                    ids=list(ids[start : start + self._page]), include=["documents", "metadatas"]
                )
            for found in read_stored(rows):
                kept.append(found.id)
                texts.append(Passage(found.text, found.title).full_text)
        return kept, texts


def index_name(ids: Sequence[str]) -> str:
    """The same for the same passages and the same way to find words in them."""
    total = hashlib.sha256(DESCRIPTION.encode())
    for i in sorted(ids):
        total.update(b"%d:%b" % (len(i), i.encode()))
    return total.hexdigest()[:32]
