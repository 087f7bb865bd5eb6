"""Who may have an embedded store open: any number of processes that read, or one that writes.

Two processes on one Chroma folder are not safe once one of them writes: the other keeps an old vector index in memory,
and may write it over the new one. So every process that has a store open holds a lock file of its own
(`.o1/open/<pid>-<number>.lock`); opening and writing happen under `.o1/write.lock`; and a process writes only while no
other one has the store open. The operating system drops the locks of a process that dies, however it dies.

Knows files and processes, nothing of Chroma.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from chroma_o1.errors import StoreLockedError

FOLDER = ".o1"
_ADVICE = (
    "Wait until it is done or close it; for several processes at once run a server "
    "(`chroma run --path DIR`) and open the store with host= and port=."
)
_process_locks: dict[Path, StoreLock] = {}
_process_guard = threading.Lock()


class StoreLock:
    """This process's locks on one store; all stores that a process has open on a folder share one.

    Args:
        folder: of the store; resolved.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FOLDER / "write.lock"
        self._holder = folder / FOLDER / "write.pid"
        self._open = folder / FOLDER / "open"
        self._mine = self._open / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.lock"
        self._gate = FileLock(self.path, thread_local=False)
        self._presence = FileLock(self._mine, thread_local=False)
        self._threads = threading.RLock()
        self._depth = 0
        self._users = 0

    @classmethod
    def of(cls, folder: Path) -> StoreLock:
        """The lock object that this process has for the folder."""
        with _process_guard:
            return _process_locks.setdefault(folder, cls(folder))

    @contextmanager
    def opening(self, timeout: float) -> Iterator[bool]:
        """Registers one more user of the store in this process.

        Args:
            timeout: seconds to wait for another process that opens or writes.

        Yields:
            whether no other process, and nothing else in this one, has the store open.

        Raises:
            StoreLockedError: another process writes.
        """
        with self._gated(timeout):
            alone = self._users == 0 and not self._others()
            self._users += 1
            try:
                if self._users == 1:
                    self._presence.acquire(timeout=timeout)
                yield alone
            except BaseException:
                self._leave()
                raise

    @contextmanager
    def writing(self, timeout: float) -> Iterator[None]:
        """Keeps every other process out, and other threads of this one that write.

        Raises:
            StoreLockedError: another process has the store open.
        """
        with self._gated(timeout):
            if others := self._others():
                raise StoreLockedError(
                    f"The store is open in process {', '.join(others)} (lock file {self._open}), so this process "
                    f"cannot write to it. {_ADVICE}"
                )
            yield

    def leave(self) -> None:
        """Takes one user of the store away; the last one gives the lock back."""
        with self._threads:
            self._leave()

    def _leave(self) -> None:
        self._users -= 1
        if self._users == 0:
            self._presence.release()
            self._mine.unlink(missing_ok=True)

    @contextmanager
    def _gated(self, timeout: float) -> Iterator[None]:
        with self._threads:
            if self._depth == 0:
                self._acquire_gate(timeout)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._holder.unlink(missing_ok=True)
                    self._gate.release()

    def _acquire_gate(self, timeout: float) -> None:
        self._open.mkdir(parents=True, exist_ok=True)
        try:
            self._gate.acquire(timeout=timeout)
        except Timeout as error:
            raise StoreLockedError(
                f"The store is locked: process {self._writer()} writes to it (lock file {self.path}). {_ADVICE}"
            ) from error
        with contextlib.suppress(OSError):  # on a full disk: the lock holds without it
            self._holder.write_text(str(os.getpid()), encoding="ascii")

    def _writer(self) -> str:
        try:
            return self._holder.read_text(encoding="ascii") or "(unknown)"
        except OSError:
            return "(unknown)"

    def _others(self) -> list[str]:
        """Ids of the other processes that have the store open; removes what dead ones left."""
        alive = []
        for path in sorted(self._open.glob("*.lock")):
            if path == self._mine:
                continue
            lock = FileLock(path, thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                alive.append(path.name.partition("-")[0])
                continue
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
            lock.release()
        return alive
