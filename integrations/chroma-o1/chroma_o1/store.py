"""O1ChromaStore: passages and their vectors in Chroma, embedded in the process or on a server."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from chromadb import Collection
from numpy.typing import ArrayLike, NDArray

from chroma_o1.connection import CollectionChoice, Connection, FolderConnection, ServerConnection
from chroma_o1.errors import StoreError
from chroma_o1.passages import TITLE, AddReport, Hit, Passage, StoredPassage, check_passage
from chroma_o1.results import check_vectors, read_hits, read_stored
from o1_retriever.embedder import O1Embedder
from o1_retriever.encoding import progress_bar
from o1_retriever.errors import InvalidInputError, InvalidTypeError

DEFAULT_COLLECTION = "o1-passages"
_QUERY_ROWS = 256  # queries sent to Chroma at once


class O1ChromaStore:
    """Passages in a Chroma collection, found by thinking queries. Safe to use from several threads.

    A folder may be open in any number of processes that read, or in one that writes (see `locking.py`); a server has no
    such limit. The vector index of a folder survives a kill at any moment (see `persistence.py`).

    Args:
        embedder: the model; the collection remembers its passage fingerprint and refuses any other's.
        path: folder of an embedded store; made if `create` is on.
        host: of a Chroma server, instead of `path`.
        port: of the server.
        ssl: whether the server speaks https.
        headers: sent with each request to the server, for authorisation.
        collection: name of the collection, 3 to 512 letters, digits, dots, dashes and underscores.
        create: make store and collection where they do not exist.
        window: passages that are embedded and stored together; cut to Chroma's own limit.
        lock_timeout: seconds to wait for another process that opens or writes the folder.

    Raises:
        StoreNotFoundError: there is no such store or collection, and `create` is off.
        StoreLockedError: another process writes to the folder.
        FingerprintMismatchError: the collection holds vectors of another model.
        StoreError: it cannot be opened; the message says why.
    """

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
        if window < 1:
            raise InvalidInputError(f"window must be at least 1, got {window}.")
        self.embedder, self._closed = embedder, False
        choice = CollectionChoice(collection, embedder, create)
        self._connection: Connection = (
            FolderConnection(Path(os.path.realpath(path)), lock_timeout, choice)
            if path is not None
            else ServerConnection(str(host), port, ssl, headers, choice)
        )
        with self._connection.errors():
            self.window = min(window, self._connection.client.get_max_batch_size())

    @property
    def collection(self) -> Collection:
        """Chroma's own collection, for reading; writing to it goes round the locks and the copies."""
        self._check_open()
        return self._connection.collection

    def add(
        self, passages: Iterable[Passage], *, show_progress: bool | None = None, total: int | None = None
    ) -> AddReport:
        """Embeds and stores a stream of passages; never holds more than a window of it.

        A passage whose title and text are stored already is neither embedded nor changed. So an interrupted call is
        continued by the same call: it repeats at most the window in flight, and ends with the same ids and vectors.

        Args:
            passages: any iterable of them.
            show_progress: a bar on stderr; None shows it on work longer than a second.
            total: how many there are, for the bar.

        Raises:
            StoreLockedError: another process has the folder open.
            StoreError: the disk is full, or Chroma cannot write; what was finished is kept.
        """
        if isinstance(passages, (str, Passage)):
            raise InvalidTypeError(f"add takes an iterable of passages, not one {type(passages).__name__}.")
        counts: Counter[str] = Counter()
        stream = (check_passage(passage, position) for position, passage in enumerate(passages))
        self._check_open()
        with self._connection.writing(), progress_bar(total, "index", show_progress) as bar:
            while window := list(islice(stream, self.window)):
                self._add_window(window, counts)
                bar.update(len(window))
        return AddReport(**counts)

    def _add_window(self, window: list[Passage], counts: Counter[str]) -> None:
        """Stores one window in one transaction: after a kill it is there as a whole or not at all."""
        texts = [passage for passage in window if passage.full_text]
        new: dict[str, Passage] = {}
        for passage in texts:
            new.setdefault(passage.id, passage)
        for known in self._existing(list(new)):
            del new[known]
        counts.update(added=len(new), present=len(texts) - len(new), empty=len(window) - len(texts))
        if not new:
            return
        vectors = self.embedder.encode_document([p.full_text for p in new.values()], show_progress=False)
        metadatas: list[Any] = [{TITLE: p.title, **p.metadata} for p in new.values()]
        with self._connection.errors():
            self._connection.protect()
            self.collection.upsert(
                ids=list(new), embeddings=vectors, documents=[p.text for p in new.values()], metadatas=metadatas
            )

    def search(self, query: str | ArrayLike, k: int = 10, num_thoughts: int | None = None) -> list[Hit]:
        """The k passages most similar to one query, best first; fewer where the store has fewer.

        Args:
            query: a text, or its vector of shape (D,).
            k: how many, at least 1.
            num_thoughts: see `O1Embedder.encode_query`; of no effect on a vector.
        """
        if isinstance(query, str):
            return self.search_batch([query], k, num_thoughts)[0]
        return self.search_batch(np.asarray(query, dtype=np.float32)[None], k)[0]

    def search_batch(
        self, queries: Sequence[str] | NDArray[np.float32], k: int = 10, num_thoughts: int | None = None
    ) -> list[list[Hit]]:
        """The same for B texts, or for vectors of shape (B, D).

        Raises:
            InvalidInputError: k is below 1, or a vector is zero, not finite or of another dimension.
            StoreError: Chroma cannot answer.
        """
        if k < 1:
            raise InvalidInputError(f"k must be at least 1, got {k}.")
        self._check_open()
        texts = not isinstance(queries, np.ndarray)
        vectors = self.embedder.encode_query(queries, num_thoughts) if texts else queries  # type: ignore[arg-type]
        vectors = check_vectors(np.asarray(vectors, dtype=np.float32), self.embedder.dimension)
        hits: list[list[Hit]] = []
        for start in range(0, len(vectors), _QUERY_ROWS):
            with self._connection.errors():
                found: Any = self.collection.query(
                    query_embeddings=vectors[start : start + _QUERY_ROWS],
                    n_results=k,
                    include=["documents", "metadatas", "distances"],
                )
            hits.extend(read_hits(found))
        return hits

    def get(self, ids: Sequence[str]) -> list[StoredPassage]:
        """The passages of these ids, in this order; ids that are not there are left out."""
        found: dict[str, StoredPassage] = {}
        for part in self._parts(ids):
            with self._connection.errors():
                rows: Any = self.collection.get(ids=part, include=["documents", "metadatas"])
            found |= {passage.id: passage for passage in read_stored(rows)}
        return [found[i] for i in ids if i in found]

    def delete(self, ids: Sequence[str]) -> int:
        """Removes the passages of these ids; returns how many were there.

        Raises:
            StoreLockedError: another process has the folder open.
        """
        deleted = 0
        with self._connection.writing():
            for part in self._parts(ids):
                if known := self._existing(part):
                    with self._connection.errors():
                        self._connection.protect()
                        self.collection.delete(ids=known)
                    deleted += len(known)
        return deleted

    def count(self) -> int:
        """How many passages the store holds."""
        self._check_open()
        with self._connection.errors():
            return int(self.collection.count())

    def close(self) -> None:
        """Gives the store back; nothing is lost without it. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._connection.close()

    def __enter__(self) -> O1ChromaStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _existing(self, ids: list[str]) -> list[str]:
        with self._connection.errors():
            return list(self.collection.get(ids=ids, include=[])["ids"]) if ids else []

    def _parts(self, ids: Sequence[str]) -> Iterator[list[str]]:
        """The ids without repetitions, in parts that Chroma takes."""
        self._check_open()
        if isinstance(ids, str):
            raise InvalidTypeError("ids must be a list of ids, not one string.")
        unique = list(dict.fromkeys(ids))
        return (unique[start : start + self.window] for start in range(0, len(unique), self.window))

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"Store {self._connection.where} is closed: open it again.")
