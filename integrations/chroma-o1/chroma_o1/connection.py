"""An open collection with all that keeps it safe: errors, locks and, for a folder, the guard of its index files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chromadb import Collection
from chromadb.api.client import Client

from chroma_o1 import backend
from chroma_o1.errors import StoreNotFoundError, store_errors
from chroma_o1.locking import FOLDER, StoreLock
from chroma_o1.persistence import DATABASE, IndexGuard
from chroma_o1.stamping import Embedder


@dataclass(frozen=True)
class CollectionChoice:
    """Which collection to open, for which model, and whether to make it."""

    name: str
    embedder: Embedder
    create: bool


class Connection(Protocol):
    """What a store needs of its place."""

    where: str
    client: Client
    collection: Collection
    lexical_folder: Path | None
    """Where lexical indexes may be kept; None: nowhere."""

    def errors(self) -> AbstractContextManager[None]:
        """Turns Chroma's errors into ours."""

    def writing(self) -> AbstractContextManager[None]:
        """Held during all writing of one call."""

    def protect(self) -> None:
        """Called before each write."""

    def close(self) -> None:
        """Gives everything back."""


class ServerConnection:
    """A collection on a Chroma server, which takes care of locks and files itself.

    Raises:
        StoreNotFoundError, FingerprintMismatchError, StoreError: see `O1ChromaStore`.
    """

    def __init__(
        self, host: str, port: int, ssl: bool, headers: dict[str, str] | None, choice: CollectionChoice
    ) -> None:
        self.where = f"{host}:{port}"
        self.lexical_folder: Path | None = None
        with self.errors():
            self.client = backend.open_server(host, port, ssl, headers)
            self.collection = _open_or_close(self.client, choice)

    def errors(self) -> AbstractContextManager[None]:
        return store_errors(self.where)

    @contextmanager
    def writing(self) -> Iterator[None]:
        yield

    def protect(self) -> None:
        pass

    def close(self) -> None:
        self.client.close()


class FolderConnection:
    """A collection in a folder: one process writes, or several read; index files survive a kill.

    Raises:
        StoreNotFoundError, StoreLockedError, FingerprintMismatchError, StoreError: see `O1ChromaStore`.
    """

    def __init__(self, folder: Path, lock_timeout: float, choice: CollectionChoice) -> None:
        self.where, self.folder, self._timeout = str(folder), folder, lock_timeout
        if not choice.create and not (folder / DATABASE).is_file():
            raise StoreNotFoundError(f"There is no store at {folder}: `o1 index PATHS... --store DIR` makes one.")
        self.lexical_folder: Path | None = folder / FOLDER / "lexical"
        self._lock, self._guard = StoreLock.of(folder), IndexGuard(folder)
        with self.errors(), self._lock.opening(lock_timeout) as alone:
            if alone:
                self._guard.recover()
            self.client = backend.open_embedded(folder)
            self.collection = _open_or_close(self.client, choice)
            self._settle()

    def _settle(self) -> None:
        """Lets Chroma add the rows that its index files lack, now, while nobody else writes to them."""
        try:
            self.protect()
            self.collection.count()
            self.protect()
        except BaseException:
            self.client.close()
            raise

    def errors(self) -> AbstractContextManager[None]:
        return store_errors(self.where, self.folder)

    @contextmanager
    def writing(self) -> Iterator[None]:
        with ExitStack() as stack:
            with self.errors():
                stack.enter_context(self._lock.writing(self._timeout))
            yield
            with self.errors():
                self.protect()

    def protect(self) -> None:
        self._guard.protect()

    def close(self) -> None:
        self.client.close()
        self._lock.leave()


def _open_or_close(client: Client, choice: CollectionChoice) -> Collection:
    try:
        return backend.open_collection(client, choice.name, choice.embedder, choice.create)
    except BaseException:
        client.close()
        raise
