"""A store that is open: its connection, its lexical side, and how it is closed. What is done with it builds on this."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from chromadb import Collection

from chroma_o1.connection import CollectionChoice, Connection, FolderConnection, ServerConnection
from chroma_o1.errors import StoreError
from chroma_o1.lexical_side import LexicalSide
from chroma_o1.searching import Searcher
from o1_retriever.config import require_int
from o1_retriever.embedder import O1Embedder
from o1_retriever.errors import InvalidInputError, InvalidTypeError

DEFAULT_COLLECTION = "o1-passages"


class OpenStore:
    """Opens and closes; see `O1ChromaStore` for the arguments and what they raise."""

    def __init__(
        self,
        embedder: O1Embedder,
        *,
        path: str | os.PathLike[str] | None = None,
        host: str | None = None,
        port: int = 8000,
        ssl: bool = False,
        headers: dict[str, str] | None = None,
        collection: str = DEFAULT_COLLECTION,
        create: bool = True,
        window: int = 1000,
        lock_timeout: float = 5.0,
    ) -> None:
        if (path is None) == (host is None):
            raise InvalidInputError("Give either path= (an embedded store) or host= and port= (a Chroma server).")
        require_int("window", window, 1)
        self.embedder, self._closed = embedder, False
        choice = CollectionChoice(collection, embedder, create)
        self._connection: Connection = (
            FolderConnection(Path(os.path.realpath(path)), lock_timeout, choice)
            if path is not None
            else ServerConnection(str(host), port, ssl, headers, choice)
        )
        with self._connection.errors():
            self.window = min(window, self._connection.client.get_max_batch_size())
        self._lexical = LexicalSide(self._connection, self.window)
        self._searcher = Searcher(self._connection, self._lexical, self.window)

    @property
    def collection(self) -> Collection:
        """Chroma's own collection, for reading; writing to it goes round the locks and the copies."""
        self._check_open()
        return self._connection.collection

    def close(self) -> None:
        """Gives the store back; nothing is lost without it. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _parts(self, ids: Sequence[str]) -> Iterator[list[str]]:
        """The ids without repetitions, in parts that Chroma takes."""
        self._check_open()
        if isinstance(ids, str) or not isinstance(ids, Sequence) or not all(isinstance(i, str) for i in ids):
            raise InvalidTypeError(f"ids must be a list of ids, not {ids!r:.80}.")
        unique = list(dict.fromkeys(ids))
        return (unique[start : start + self.window] for start in range(0, len(unique), self.window))

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"Store {self._connection.where} is closed: open it again.")
