"""A small SQLite file of one kind, opened by several processes: made, recognised, its errors in words.

Knows SQLite; knows nothing of what the tables hold.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from o1_retriever.errors import StorageError
from o1_retriever.storage import make_folder

BUSY_SECONDS = 10.0
"""How long one process waits for another's writing."""

DAMAGED = (
    "It is damaged or something else. Nothing was deleted: give another path, or delete the file yourself; "
    "what it held will be made again."
)
_LOCKED = "Another process keeps it locked: wait for that one or end it, or give this one a path of its own."
_ADVICE = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_READONLY: "It cannot be written to: mend its permissions and its folder's, or give another path.",
    sqlite3.SQLITE_CANTOPEN: "It cannot be opened or made: give the path of a file in a folder that can be written to.",
    sqlite3.SQLITE_FULL: "The disk is full: free some space, or give a path on another one.",
}


@dataclass(frozen=True)
class Kind:
    """What makes a file one of ours.

    Attributes:
        application: number in the header that says whose file it is; not 0.
        version: of the tables.
        tables: the statements that make them.
    """

    application: int
    version: int
    tables: Sequence[str]


class SQLiteFile:
    """One process's connection to a file, for one thread at a time. A forked child opens the file anew.

    Args:
        path: of the file; made with its folder where it is missing.
        kind: which files are accepted.

    Raises:
        StorageError: the file cannot be made or read, or is of another kind.
    """

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path, self.kind = path, kind
        self._closed = False
        self._opened = self._open()

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """The connection; what was begun is committed at the end, or taken back after an error.

        Raises:
            StorageError: SQLite refuses, or the file was closed.
        """
        if self._opened.process != os.getpid():
            self._opened = self._open()
        opened = self._opened
        with opened.lock:
            if self._closed:
                raise StorageError(f"{self.path} was closed: open it again.")
            with database_errors(self.path), opened.connection as connection:
                yield connection

    def close(self) -> None:
        """Closes the file for this process; does nothing the second time."""
        self._closed = True
        opened = self._opened
        if opened.process == os.getpid():
            with opened.lock:
                opened.connection.close()

    def _open(self) -> _Opened:
        make_folder(self.path.parent)
        with database_errors(self.path):
            opened = _Opened(_connected(self.path, self.kind))
        _all_opened.add(opened)
        return opened


@dataclass(frozen=True, eq=False)
class _Opened:
    """A connection, the lock of its threads, and the process that may use it."""

    connection: sqlite3.Connection
    lock: threading.Lock = field(default_factory=threading.Lock)
    process: int = field(default_factory=os.getpid)


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turns what SQLite refuses into a `StorageError` that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        advice = _ADVICE.get(_primary(error), "Mend what is wrong there, or give another path.")
        raise StorageError(f"{path} cannot be used: {error}. {advice}") from error


def _connected(path: Path, kind: Kind) -> sqlite3.Connection:
    """Tries again while others open the file: SQLite waits for a lock, but not for every one that opening needs."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path, kind)
        except (sqlite3.Error, StorageError) as error:
            connection.close()
            if _primary(error) != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
        else:
            return connection


def _prepare(connection: sqlite3.Connection, path: Path, kind: Kind) -> None:
    """Makes the tables in a new file and refuses the files of others."""
    if _header(connection) == (0, 0):
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            for statement in _making(kind) if not tables else ():  # another process may have been faster
                connection.execute(statement)
    application, version = _header(connection)
    if (application, version) != (kind.application, kind.version):
        what = "was written by another version" if application == kind.application else "belongs to another program"
        raise StorageError(f"{path} {what} and was left as it is: give another path.")
    connection.execute("PRAGMA journal_mode = WAL")  # readers and a writer side by side, where the disk allows it
    connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last rows, never the file


def _making(kind: Kind) -> list[str]:
    header = (f"PRAGMA application_id = {kind.application}", f"PRAGMA user_version = {kind.version}")
    return [*kind.tables, *header]


def _header(connection: sqlite3.Connection) -> tuple[int, int]:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(application), int(version)


def _primary(error: Exception) -> int:
    """SQLite's code without its details; 0 where the error is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


_all_opened: weakref.WeakSet[_Opened] = weakref.WeakSet()
_inherited: list[_Opened] = []


def _keep_inherited() -> None:
    """In a forked child: SQLite forbids to use its parent's connections here, and even to close them."""
    _inherited.extend(_all_opened)


if hasattr(os, "register_at_fork"):  # where there is forking at all
    os.register_at_fork(after_in_child=_keep_inherited)
