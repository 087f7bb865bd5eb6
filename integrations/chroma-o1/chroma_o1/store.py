"""O1ChromaStore: passages and their vectors in Chroma, embedded in the process or on a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from chroma_o1.filters import check_filter
from chroma_o1.passages import TITLE, AddReport, Passage, Scalar, check_passage, check_update
from chroma_o1.reading import ReadableStore
from o1_retriever.encoding import progress_bar
from o1_retriever.errors import InvalidInputError, InvalidTypeError


class O1ChromaStore(ReadableStore):
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
        if isinstance(passages, (str, Passage)) or not isinstance(passages, Iterable):
            raise InvalidTypeError(f"add takes an iterable of passages, not one {type(passages).__name__}.")
        counts: Counter[str] = Counter()
        stream = (check_passage(passage, position) for position, passage in enumerate(passages))
        with self._writing(), progress_bar(total, "index", show_progress) as bar:
            while window := list(islice(stream, self.window)):
                self._add_window(window, counts)
                bar.update(len(window))
        return AddReport(**counts)

    def update(self, metadata: Mapping[str, Mapping[str, Scalar | None]]) -> int:
        """Changes metadata of stored passages; returns how many of them were there.

        Title and text are what a passage is, and decide its id: a passage with a new text is a new passage. Add it, and
        delete the old one.

        Args:
            metadata: id -> what to change: the keys given get these values, None takes a key away, others stay.

        Raises:
            InvalidTypeError, InvalidInputError: keys or values that a store cannot hold; nothing was changed.
            StoreLockedError: another process has the folder open.
        """
        if not isinstance(metadata, Mapping):
            raise InvalidTypeError(f"update takes {{id: {{key: value}}}}, got {type(metadata).__name__}.")
        changes = {i: check_update(i, change) for i, change in metadata.items()}
        updated = 0
        with self._writing():
            for part in self._parts(list(changes)):
                if known := self._existing(part):
                    new: list[Any] = [changes[i] for i in known]
                    with self._connection.errors():
                        self._connection.protect()
                        self.collection.update(ids=known, metadatas=new)
                    updated += len(known)
        return updated

    def delete(self, ids: Sequence[str]) -> int:
        """Removes the passages of these ids; returns how many were there.

        Raises:
            StoreLockedError: another process has the folder open.
        """
        deleted = 0
        with self._writing():
            for part in self._parts(ids):
                if known := self._existing(part):
                    with self._connection.errors():
                        self._connection.protect()
                        self.collection.delete(ids=known)
                    deleted += len(known)
        return deleted

    def delete_where(
        self, where: Mapping[str, Any] | None = None, *, where_document: Mapping[str, Any] | None = None
    ) -> int:
        """Removes the passages that a filter finds, such as all of one file; returns how many.

        Args:
            where: see `search`; {"source": "notes.md"} are the passages that `o1 index` read from that file.
            where_document: see `search`.

        Raises:
            InvalidInputError: there is no filter, or it is not in Chroma's language.
            StoreLockedError: another process has the folder open.
        """
        chosen = check_filter(where, where_document)
        if not chosen:
            raise InvalidInputError("delete_where needs where= or where_document=: it never removes everything.")
        with self._writing():
            with self._connection.errors():
                ids = self.collection.get(include=[], **chosen.arguments)["ids"]
            return self.delete(ids)

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

    def _existing(self, ids: list[str]) -> list[str]:
        with self._connection.errors():
            return list(self.collection.get(ids=ids, include=[])["ids"]) if ids else []

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Held during all writing of one call."""
        self._check_open()
        with self._connection.writing():
            try:
                yield
            finally:
                self._lexical.changed()
